from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _

from core import logging
from core.celery import app as celery_app  # shared tasks bind to it wherever Django is set up

__all__ = ["CoreConfig", "celery_app"]


class CoreConfig(AppConfig):
    name = "core"
    verbose_name = _("Core")

    def ready(self) -> None:
        logging.configure()
