from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _

from core.celery import app


class TasksApiConfig(AppConfig):
    name = "tasks_api"
    verbose_name = _("Tasks")

    def ready(self) -> None:
        from tasks_api import ledger  # noqa: PLC0415 -- models may be imported only now

        ledger.connect()
        app.steps["consumer"].add("tasks_api.heartbeats:Heartbeat")
