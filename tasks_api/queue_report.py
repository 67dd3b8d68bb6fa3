"""How full each queue is, how long the oldest task waits, and who reads it."""

from dataclasses import dataclass
from typing import Any

from django.db.models import Count, Min, Q
from django.utils import timezone

from core import queues
from core.redis import client
from tasks_api import heartbeats
from tasks_api.models import TaskRun, TaskState


@dataclass(frozen=True)
class QueueReport:
    """One queue. ``length`` counts messages in the broker; the rest counts rows of the ledger."""

    name: str
    length: int
    queued: int
    scheduled: int
    running: int
    oldest_age_seconds: float | None
    consumers: list[str]


def queue_reports() -> list[QueueReport]:
    """Return a report of each queue, most urgent first: one query, one round to Redis, one read of heartbeats."""
    pipe = client().pipeline(transaction=False)
    for name in queues.NAMES:
        pipe.llen(name)
    lengths = dict(zip(queues.NAMES, pipe.execute(), strict=True))
    alive = [worker for worker in heartbeats.workers() if worker.is_alive]
    rows = {row["queue"]: row for row in _counts()}
    now = timezone.now()
    reports = []
    for name in queues.NAMES:
        row = rows.get(name, {})
        oldest = row.get("oldest")
        reports.append(
            QueueReport(
                name=name,
                length=lengths[name],
                queued=row.get("queued", 0),
                scheduled=row.get("scheduled", 0),
                running=row.get("running", 0),
                oldest_age_seconds=None if oldest is None else round((now - oldest).total_seconds(), 1),
                consumers=[worker.name for worker in alive if name in worker.queues],
            )
        )
    return reports


def _counts() -> list[dict[str, Any]]:
    def in_state(state: TaskState) -> Count:
        return Count("pk", filter=Q(state=state))

    rows: Any = (
        TaskRun.objects.open()
        .values("queue")
        .annotate(
            queued=in_state(TaskState.QUEUED),
            scheduled=in_state(TaskState.SCHEDULED),
            running=in_state(TaskState.RUNNING),
            oldest=Min("queued_at", filter=Q(state=TaskState.QUEUED)),
        )
    )
    return list(rows)
