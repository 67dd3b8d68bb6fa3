"""The product's settings, and tasks that do what a test of the ledger needs."""

from core.settings import *  # noqa: F403

CELERY_IMPORTS = ("tests.tasks_api.tasks",)
CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = 2.0
