"""How long tasks wait in their queues and how long they run, as the workers see it: measured on every task.

A message carries when it was sent (`ENQUEUED_AT`); the worker counts its wait and its run in a histogram of ten-second
buckets in Redis. A count costs a chat nothing: it is kept in memory and written once a second, after a task or from
the worker's event loop. What is lost with a process, or while Redis is away, is a second of statistics.
"""

import math
import os
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from celery import bootsteps, signals
from redis import RedisError

from core.continuing import GOES_ON
from core.redis import client

log = structlog.get_logger(__name__)

ENQUEUED_AT = "enqueued_at"  # a message header: POSIX seconds
BUCKET_SECONDS = 10
KEPT_SECONDS = 900
WRITE_EVERY_SECONDS = 1.0
RETRY_SECONDS = 5.0
BINS_PER_DOUBLING = 4  # a percentile is at most 19 % too high


@dataclass(frozen=True)
class Spread:
    """How long something took, in milliseconds; the percentiles are None where nothing was counted.

    ``second`` is the longest but one: of fewer than 20 the p95 is the longest, a single one.
    """

    count: int
    p50: float | None
    p95: float | None
    p99: float | None
    second: float | None


@dataclass(frozen=True)
class Waits:
    """What tasks of one queue met in a stretch of time."""

    wait_ms: Spread
    run_ms: Spread


class Recorder:
    """Counts in memory and writes to Redis now and then; safe between threads, empty after a fork."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Begin anew; in a forked child another thread of the parent may have held the lock."""
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, str]] = Counter()
        self._write_at = 0.0

    def count(self, queue: str, kind: str, seconds: float) -> None:
        """Count one duration: ``kind`` is ``wait`` or ``run``."""
        with self._lock:
            self._counts[key_of(queue, time.time()), f"{kind}{bin_of(seconds * 1000)}"] += 1

    def write(self) -> None:
        """Write what was counted, at most once in `WRITE_EVERY_SECONDS`."""
        now = time.monotonic()
        with self._lock:
            if now < self._write_at or not self._counts:
                return
            self._write_at = now + WRITE_EVERY_SECONDS
            counts, self._counts = self._counts, Counter()
        try:
            pipe = client().pipeline(transaction=False)
            for (key, field), count in counts.items():
                pipe.hincrby(key, field, count)
            for key in {key for key, _field in counts}:
                pipe.expire(key, KEPT_SECONDS)
            pipe.execute()
        except (RedisError, OSError) as exc:
            log.warning("waits not written", error=type(exc).__name__)
            self._write_at = now + RETRY_SECONDS


recorder = Recorder()
os.register_at_fork(after_in_child=recorder.clear)


def key_of(queue: str, moment: float) -> str:
    return f"waits:{queue}:{int(moment // BUCKET_SECONDS)}"


def bin_of(milliseconds: float) -> int:
    """Return the number of the histogram's bin, each a fourth of a doubling above 1 ms wide."""
    return math.ceil(BINS_PER_DOUBLING * math.log2(max(milliseconds, 1.0)))


def read(queue: str, *, seconds: int) -> Waits:
    """Return what was counted in about the last ``seconds``, whole buckets and the one that is being filled.

    Raises:
        RedisError: if Redis is away.
    """
    now = time.time()
    pipe = client().pipeline(transaction=False)
    for step in range(-(-seconds // BUCKET_SECONDS) + 1):
        pipe.hgetall(key_of(queue, now - step * BUCKET_SECONDS))
    counts: Counter[str] = Counter()
    for bucket in pipe.execute():
        counts.update({field: int(count) for field, count in bucket.items()})
    return Waits(*(_spread(counts, kind) for kind in ("wait", "run")))


def _spread(counts: Mapping[str, int], kind: str) -> Spread:
    bins = sorted((int(field.removeprefix(kind)), n) for field, n in counts.items() if field.startswith(kind))
    total = sum(n for _bin, n in bins)
    return Spread(total, *(_at(bins, rank) for rank in (0.5 * total, 0.95 * total, 0.99 * total, total - 1)))


def _at(bins: list[tuple[int, int]], rank: float) -> float | None:
    """Return the duration that so many are not longer than, or None if there are not so many."""
    seen = 0
    for number, n in bins:
        seen += n
        if 0 < rank <= seen:
            return round(2 ** (number / BINS_PER_DOUBLING), 1)
    return None


@signals.before_task_publish.connect
def stamp(headers: dict[str, Any], **_kwargs: Any) -> None:
    """Write into the message when it is sent."""
    headers[ENQUEUED_AT] = time.time()


def begin(task: Any, **_kwargs: Any) -> None:
    """Count the task's wait, up to where its own code begins."""
    queue, now = queue_of(task), time.time()
    sent_at = (task.request.headers or {}).get(ENQUEUED_AT)
    task.request.began_at = now
    if queue and isinstance(sent_at, int | float):
        recorder.count(queue, "wait", max(0.0, now - sent_at))  # clocks of two machines may differ


def end(task: Any, retval: Any, **_kwargs: Any) -> None:
    """Count how long the task ran; one that goes on ends again."""
    queue, began_at = queue_of(task), getattr(task.request, "began_at", None)
    if queue and began_at is not None and retval is not GOES_ON:
        recorder.count(queue, "run", max(0.0, time.time() - began_at))
        recorder.write()


def queue_of(task: Any) -> str:
    """Return the queue that the task came from; empty where it was called without one."""
    return "" if task.request.is_eager else str((task.request.delivery_info or {}).get("routing_key") or "")


@signals.celeryd_after_setup.connect
def follow(**_kwargs: Any) -> None:
    """Listen only now, so after those that open the task's session and write its ledger: a chat waits for them."""
    signals.task_prerun.connect(begin, weak=False)
    signals.task_postrun.connect(end, weak=False)


class WaitsStep(bootsteps.StartStopStep):
    """Writes from the worker's event loop: a chat that runs for long was counted when it began."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, consumer: Any) -> None:
        self.timer = consumer.timer.call_repeatedly(WRITE_EVERY_SECONDS, recorder.write)

    def stop(self, consumer: Any) -> None:
        if timer := getattr(self, "timer", None):
            timer.cancel()
