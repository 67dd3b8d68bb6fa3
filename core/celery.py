"""The Celery application: ``celery -A core worker …``."""

import os
from typing import Any

from celery import Celery, signals

from core.health.worker import HealthFile, QueueSeparation, StuckWatch

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "core.settings")

app = Celery("core")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
app.steps["worker"] |= {QueueSeparation, StuckWatch}
app.steps["consumer"].add(HealthFile)


@signals.setup_logging.connect
def configure_logging(**_kwargs: Any) -> None:
    """Keep Celery from setting up handlers of its own: Django's start has done it (core.logging)."""
