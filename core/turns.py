"""Whose turn background work is: whoever has had least of the workers lately (docs/fairness.md).

Each tenant has an account of the time its tasks have had in about the last minute. The less that was, measured against
who had most, the more urgent the level its next messages get: Celery's priority, each a list of its own in the broker,
taken in that order. A worker that finds nobody waiting may go on with what it has, and ask others to help. Once anybody
waits at its own tenant's level its turn ends after about a second, and almost at once for somebody more urgent.

What is lost with Redis is a minute of accounts: then all are alike.
"""

import time
from bisect import bisect
from typing import Any

import structlog
from celery import signals
from redis import RedisError

from core import queues, waits
from core.redis import client

log = structlog.get_logger(__name__)

SHARED_SECONDS = 1.0  # of a turn while others wait
BRIEF_SECONDS = 0.25  # of one while somebody more urgent waits
LEVEL_SHARES = (1 / 8, 1 / 4, 1 / 2)  # of what the busiest has had, from which on the next level is a tenant's
LITTLE_SECONDS = 3.0  # who has had less is as urgent as a newcomer
BUCKET_SECONDS, BUCKETS = 15, 5
READ_EVERY_SECONDS = 0.5
QUEUES = (queues.DEFAULT, queues.LOW_PRIORITY)


class _Known:
    """The accounts as this process last read them."""

    seconds: dict[str, float] = {}
    read_at = -READ_EVERY_SECONDS


def record(tenant_id: Any, seconds: float) -> None:
    """Add to the tenant's account; without Redis nothing is remembered."""
    key = _key(time.time())
    try:
        pipe = client().pipeline(transaction=False)
        pipe.hincrbyfloat(key, str(tenant_id), seconds)
        pipe.expire(key, BUCKET_SECONDS * (BUCKETS + 1))
        pipe.execute()
    except (RedisError, OSError) as exc:
        log.warning("time not accounted for", error=type(exc).__name__)


def accounts() -> dict[str, float]:
    """Return the seconds that each tenant's tasks have had in about the last minute; those with none are missing."""
    now = time.monotonic()
    if now - _Known.read_at >= READ_EVERY_SECONDS:
        _Known.seconds, _Known.read_at = _read(), now
    return _Known.seconds


def levels() -> dict[str, int]:
    """Return the level of each tenant that has one other than the most urgent, which is 0."""
    had = {tenant: seconds for tenant, seconds in accounts().items() if seconds >= LITTLE_SECONDS}
    most = max(had.values(), default=0.0)
    found = {tenant: queues.LEVELS[bisect(LEVEL_SHARES, seconds / most)] for tenant, seconds in had.items()}
    return {tenant: level for tenant, level in found.items() if level}


def level_of(tenant_id: Any) -> int:
    """Return how urgent the tenant's work is now: one of `queues.LEVELS`, the platform's own being the least."""
    return levels().get(str(tenant_id), queues.LEVELS[0]) if tenant_id else queues.LEVELS[-1]


def others_wait(level: int = queues.LEVELS[-1]) -> bool:
    """Return whether a message of this level, or a more urgent one, waits; False if Redis cannot say."""
    lists = [queues.list_of(name, step) for name in QUEUES for step in queues.LEVELS if step <= level]
    try:
        return bool(lists) and bool(client().exists(*lists))
    except RedisError:
        return False


class Turn:
    """The time one task has: ``seconds``, less as soon as others wait: ``shared_seconds``, or a moment."""

    def __init__(self, seconds: float, *, tenant_id: Any = None, shared_seconds: float | None = None) -> None:
        self.started = time.monotonic()
        self.ends_at = self.started + seconds
        self.shared_seconds = SHARED_SECONDS if shared_seconds is None else shared_seconds
        self.tenant_id = tenant_id

    def seconds_left(self) -> float:
        """Return what is left at most; negative once it is over."""
        return self.ends_at - time.monotonic()

    def others_wait(self) -> bool:
        """Return whether somebody waits who is as urgent as this turn's tenant."""
        return others_wait(level_of(self.tenant_id))

    def goes_on(self) -> bool:
        """Return whether a step that could be broken off may go on: there is time, and nobody more urgent waits."""
        is_brief = time.monotonic() < self.started + BRIEF_SECONDS
        return self.seconds_left() > 0 and (is_brief or not others_wait(level_of(self.tenant_id) - 1))

    def is_over(self) -> bool:
        if time.monotonic() < self.started + self.shared_seconds:
            return not self.goes_on()
        return self.seconds_left() <= 0 or self.others_wait()


def _read() -> dict[str, float]:
    now = time.time()
    try:
        pipe = client().pipeline(transaction=False)
        for step in range(BUCKETS):
            pipe.hgetall(_key(now - step * BUCKET_SECONDS))
        seconds: dict[str, float] = {}
        for bucket in pipe.execute():
            for tenant, value in bucket.items():
                seconds[tenant] = seconds.get(tenant, 0.0) + float(value)
        return seconds
    except (RedisError, OSError):
        return {}


def _key(moment: float) -> str:
    return f"turns:{int(moment // BUCKET_SECONDS)}"


def account(task: Any, **_kwargs: Any) -> None:
    """Add what the task took to its tenant's account."""
    began_at = getattr(task.request, "began_at", None)
    tenant_id = (task.request.headers or {}).get("tenant_id")
    if tenant_id and began_at is not None and waits.queue_of(task) in QUEUES:
        record(tenant_id, time.time() - began_at)


@signals.celeryd_after_setup.connect
def follow(**_kwargs: Any) -> None:
    signals.task_postrun.connect(account, weak=False)
