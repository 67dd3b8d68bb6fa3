"""The Celery application: ``celery -A core worker …``."""

import os
from typing import Any

from celery import Celery, signals
from celery.contrib.django.task import DjangoTask
from celery.exceptions import Ignore

import core.brownout  # workers follow all three
import core.priority
import core.requests
import core.turns  # noqa: F401 -- those of core.requests must be the first: they complete what others read
from core import broker, memory, waits
from core.health.worker import HealthFile, QueueSeparation, StuckWatch

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "core.settings")


class Task(DjangoTask):
    """Skips a task that was revoked while it waited; the ledger marks the request so (tasks_api.ledger)."""

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        if getattr(self.request, "is_revoked", False):
            raise Ignore


broker.install()
app = Celery("core", task_cls=Task)
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
app.steps["worker"] |= {QueueSeparation, StuckWatch, broker.RowsRemember}
app.steps["consumer"] |= {HealthFile, waits.WaitsStep}


@signals.setup_logging.connect
def configure_logging(**_kwargs: Any) -> None:
    """Keep Celery from setting up handlers of its own: Django's start has done it (core.logging)."""


@signals.worker_process_init.connect
@signals.worker_ready.connect
def settle_memory(**_kwargs: Any) -> None:
    memory.settle()
