"""Cleaning up, as periodic tasks. No rules live here; each returns what it deleted."""

from celery import shared_task

from tasks_api import cleaning


@shared_task(name="tasks_api.cleanup_old_cache", ignore_result=False, soft_time_limit=110, time_limit=120)
def cleanup_old_cache() -> dict[str, int]:
    """Delete stored answers that nobody may ask for any more."""
    return {"idempotent_answers": cleaning.forget_old_answers()}


@shared_task(name="tasks_api.cleanup_failed_tasks", ignore_result=False, soft_time_limit=230, time_limit=240)
def cleanup_failed_tasks() -> dict[str, int]:
    """Close tasks that were lost; delete old tasks and results."""
    return {
        "lost": cleaning.close_lost(),
        "tasks": cleaning.forget_old_tasks(),
        "results": cleaning.forget_old_results(),
    }
