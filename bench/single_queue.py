"""The settings of the world before: one queue for everything, and Celery as it comes.

Only for `bench.chat_wait`, which runs the product's own tasks this way to have something to compare with.
"""

from kombu import Queue

from core.settings import *  # noqa: F403

QUEUE = "celery"
CELERY_TASK_QUEUES = (Queue(QUEUE),)
CELERY_TASK_DEFAULT_QUEUE = QUEUE
CELERY_TASK_ROUTES: dict[str, dict[str, str]] = {}
CELERY_TASK_ACKS_LATE = False
CELERY_TASK_REJECT_ON_WORKER_LOST = False
CELERY_WORKER_PREFETCH_MULTIPLIER = 4
CELERY_WORKER_DISABLE_PREFETCH = False
