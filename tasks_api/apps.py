from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class TasksApiConfig(AppConfig):
    name = "tasks_api"
    verbose_name = _("Tasks")
