"""Cleaning up, as periodic tasks. No rules live here; each returns what it deleted, by kind."""

from celery import shared_task

from core import batches
from tasks_api import cleaning


@shared_task(name="tasks_api.cleanup_old_cache", ignore_result=False)
def cleanup_old_cache() -> dict[str, int]:
    """Delete answers, sessions and bodies that nobody may ask for any more."""
    return batches.run(cleaning.OLD_CACHE)


@shared_task(name="tasks_api.cleanup_failed_tasks", ignore_result=False)
def cleanup_failed_tasks() -> dict[str, int]:
    """Close tasks that were lost; delete old tasks, results, dead letters and webhook deliveries."""
    return batches.run(cleaning.FAILED_TASKS)
