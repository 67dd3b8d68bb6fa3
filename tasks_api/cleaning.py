"""Keeping the ledger and its neighbours short: old rows go in batches, lost ones are closed."""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.models import Q, QuerySet
from django.utils import timezone
from django_celery_results.models import TaskResult

from tasks_api import heartbeats
from tasks_api.models import TaskRun, TaskState
from tenants import idempotency

BATCH = 5000
SECONDS = 60.0  # then the rest waits for the next time
STARTING_SECONDS = 60  # a worker that has just begun may not have reported yet

# Oldest first along the index on creation: the search ends at once where nothing is old.
_DELETE = """
    DELETE FROM tasks_api_taskrun WHERE id = ANY(ARRAY(
        SELECT id FROM tasks_api_taskrun
        WHERE created_at < %(before)s AND finished_at < %(before)s AND state = ANY(%(states)s)
        ORDER BY created_at LIMIT %(limit)s
    ))
"""


def forget_old_tasks() -> int:
    """Delete tasks that ended long ago, failed and revoked ones later than the rest; return how many."""
    done = timezone.now() - timedelta(hours=settings.TASKS_KEEP_DONE_HOURS)
    failed = timezone.now() - timedelta(days=settings.TASKS_KEEP_FAILED_DAYS)
    return in_batches(lambda: _delete(done, [TaskState.DONE])) + in_batches(
        lambda: _delete(failed, [TaskState.FAILED, TaskState.REVOKED])
    )


def forget_old_results() -> int:
    """Delete Celery's result records of the same age; return how many."""
    before = timezone.now() - timedelta(days=settings.TASKS_KEEP_FAILED_DAYS)
    old = TaskResult.objects.filter(date_done__lt=before)
    return in_batches(lambda: TaskResult.objects.filter(pk__in=old.values("pk")[:BATCH]).delete()[0])


def forget_old_answers() -> int:
    """Delete stored answers of idempotent requests past their day; return how many."""
    return in_batches(lambda: idempotency.forget_old(limit=BATCH))


def close_lost() -> int:
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
    return _fail(orphans, "The worker is gone.") + _fail(unheard, "No worker took it.")


def in_batches(delete: Callable[[], int], *, seconds: float = SECONDS) -> int:
    """Call ``delete`` until a batch is short or the time is up; return the sum."""
    deadline = time.monotonic() + seconds
    total = 0
    while time.monotonic() < deadline:
        deleted = delete()
        total += deleted
        if deleted < BATCH:
            break
    return total


def _delete(before: object, states: list[TaskState]) -> int:
    with connection.cursor() as cursor:
        values: dict[str, Any] = {"before": before, "states": [str(state) for state in states], "limit": BATCH}
        cursor.execute(_DELETE, values)
        return int(cursor.rowcount)


def _fail(rows: QuerySet[TaskRun], error: str) -> int:
    keys = list(rows.values_list("pk", flat=True)[:BATCH])
    return rows.filter(pk__in=keys).update(state=TaskState.FAILED, error=error, finished_at=timezone.now())
