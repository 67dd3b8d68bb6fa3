"""How full each queue is, how long its tasks wait and run, whether it is slowed for the chat, and who reads it."""

from dataclasses import dataclass
from itertools import islice
from typing import Any

from django.db.models import Count, Min, Q
from django.utils import timezone

from core import brownout, queues, waits
from core.redis import client
from tasks_api import heartbeats
from tasks_api.models import TaskRun, TaskState

WAITS_SECONDS = 300
SLOWED = (queues.LOW_PRIORITY,)


@dataclass(frozen=True)
class QueueReport:
    """One queue. ``length`` counts messages in the broker, ``queued`` to ``running`` rows of the ledger.

    ``wait_ms`` and ``run_ms`` are of the tasks begun and ended in the last `WAITS_SECONDS`, ``brownout_level`` says how
    far the queue's work is slowed because chats wait (core/brownout.py).
    """

    name: str
    length: int
    queued: int
    scheduled: int
    running: int
    oldest_age_seconds: float | None
    consumers: list[str]
    wait_ms: waits.Spread
    run_ms: waits.Spread
    brownout_level: int


def queue_reports() -> list[QueueReport]:
    """Return a report of each queue, most urgent first: one query, and some reads of Redis."""
    pipe = client().pipeline(transaction=False)
    for name in queues.NAMES:
        for part in queues.lists_of(name):
            pipe.llen(part)
    counted = iter(pipe.execute())
    lengths = {name: sum(islice(counted, len(queues.LEVELS))) for name in queues.NAMES}
    alive = [worker for worker in heartbeats.workers() if worker.is_alive]
    rows = {row["queue"]: row for row in _counts()}
    slowed = brownout.read().level
    now = timezone.now()
    reports = []
    for name in queues.NAMES:
        row = rows.get(name, {})
        oldest = row.get("oldest")
        taken = waits.read(name, seconds=WAITS_SECONDS)
        reports.append(
            QueueReport(
                name=name,
                length=lengths[name],
                queued=row.get("queued", 0),
                scheduled=row.get("scheduled", 0),
                running=row.get("running", 0),
                oldest_age_seconds=None if oldest is None else round((now - oldest).total_seconds(), 1),
                consumers=[worker.name for worker in alive if name in worker.queues],
                wait_ms=taken.wait_ms,
                run_ms=taken.run_ms,
                brownout_level=slowed if name in SLOWED else 0,
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
