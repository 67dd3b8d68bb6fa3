"""Keeping the ledger and its neighbours short: old rows go, lost ones are closed; and all cleaning by its names.

Every step takes the most rows that it may touch, and returns how many it were (core/batches.py).
"""

from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib.sessions.models import Session
from django.db import connection
from django.db.models import Q, QuerySet
from django.utils import timezone
from django_celery_results.models import TaskResult

from chat import cleaning as chat
from chat import stream
from core import batches
from core.batches import Step
from crawl import cleaning as crawl
from knowledge import cleaning as knowledge
from tasks_api import heartbeats
from tasks_api.models import TaskRun, TaskState
from tenants import cleaning as tenants

STARTING_SECONDS = 60  # a worker that has just begun may not have reported yet

# Oldest first along the index on creation: the search ends at once where nothing is old.
_DELETE = """
    DELETE FROM tasks_api_taskrun WHERE id = ANY(ARRAY(
        SELECT id FROM tasks_api_taskrun
        WHERE created_at < %(before)s AND finished_at < %(before)s AND state = ANY(%(states)s)
        ORDER BY created_at LIMIT %(limit)s
    ))
"""


def forget_done_tasks(limit: int) -> int:
    """Delete tasks that were done long ago."""
    return _delete(timezone.now() - timedelta(hours=settings.TASKS_KEEP_DONE_HOURS), [TaskState.DONE], limit)


def forget_failed_tasks(limit: int) -> int:
    """Delete failed and revoked tasks, which are kept for longer."""
    return _delete(_failed_before(), [TaskState.FAILED, TaskState.REVOKED], limit)


def forget_old_results(limit: int) -> int:
    """Delete Celery's result records of the same age."""
    old = TaskResult.objects.filter(date_done__lt=_failed_before()).order_by("date_done")
    return TaskResult.objects.filter(pk__in=list(old.values_list("pk", flat=True)[:limit])).delete()[0]


def forget_expired_sessions(limit: int) -> int:
    """Delete people's sessions that have ended by themselves."""
    old = Session.objects.filter(expire_date__lt=timezone.now()).order_by("expire_date")
    return Session.objects.filter(pk__in=list(old.values_list("pk", flat=True)[:limit])).delete()[0]


def close_lost(limit: int = batches.BATCH) -> int:
    """Fail tasks whose worker is gone, and waiting ones that no message tells of any more; return how many.

    A task that is delivered again after all simply starts again.
    """
    now = timezone.now()
    living = [worker.boot for worker in heartbeats.workers() if worker.is_alive]
    orphans = TaskRun.objects.filter(
        state=TaskState.RUNNING, started_at__lt=now - timedelta(seconds=STARTING_SECONDS)
    ).exclude(worker_boot__in=living)
    unheard = TaskRun.objects.filter(state__in=(TaskState.QUEUED, TaskState.SCHEDULED)).filter(
        Q(queued_at__lt=now - timedelta(hours=settings.TASKS_UNHEARD_HOURS)) & (Q(eta=None) | Q(eta__lt=now))
    )
    closed = _fail(orphans, "The worker is gone.", limit)
    return closed + _fail(unheard, "No worker took it.", limit - closed)


OLD_CACHE: dict[str, Step] = {
    **chat.CACHE,
    **crawl.CACHE,
    **tenants.CACHE,
    "sessions": forget_expired_sessions,
    "endless_streams": stream.end_endless,
}
FAILED_TASKS: dict[str, Step] = {
    "lost": close_lost,
    "done_tasks": forget_done_tasks,
    "failed_tasks": forget_failed_tasks,
    "results": forget_old_results,
    **knowledge.TASKS,
    **tenants.TASKS,
}
# What each client's name for cleaning does, in the words of manage.py cleanup.
PARTS: dict[str, dict[str, Step]] = {
    "cache": OLD_CACHE,
    "query-cache": chat.QUERY_CACHE,
    "conversations": chat.CONVERSATIONS,
    "tasks": FAILED_TASKS,
}


def _failed_before() -> datetime:
    return timezone.now() - timedelta(days=settings.TASKS_KEEP_FAILED_DAYS)


def _delete(before: datetime, states: list[TaskState], limit: int) -> int:
    with connection.cursor() as cursor:
        values: dict[str, Any] = {"before": before, "states": [str(state) for state in states], "limit": limit}
        cursor.execute(_DELETE, values)
        return int(cursor.rowcount)


def _fail(rows: QuerySet[TaskRun], error: str, limit: int) -> int:
    keys = list(rows.values_list("pk", flat=True)[:limit])
    return rows.filter(pk__in=keys).update(state=TaskState.FAILED, error=error, finished_at=timezone.now())
