"""The product's settings, and a task that holds a slot for as long as a test wants."""

from core.settings import *  # noqa: F403

CELERY_IMPORTS = ("tests.isolation.holding",)
CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = 2.0  # the product waits longer before it puts work back
QUERY_CACHE_ENABLED = False  # the same question is asked again and again; it is answering that shall not wait
