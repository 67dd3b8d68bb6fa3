"""Background work slows down by itself while chats wait too long, and recovers by itself (docs/queues.md).

The sweeper compares the p95 of chat's wait (`core.waits`) with ``CHAT_WAIT_TARGET_MS`` every second and keeps a level
in Redis, from 0 (full speed) to `LEVEL_MAX`. Workers read it at most once a second. It expires by itself: without
Redis, without a sweeper, or before either has said anything, background work goes at full speed. While chats are
refused because others wait too long, it goes to the last level at once.
"""

import json
import threading
import time
from dataclasses import asdict, dataclass, replace
from typing import Any

import structlog
from celery import signals
from django.conf import settings
from redis import RedisError

from core import queues, waits
from core.redis import client

log = structlog.get_logger(__name__)

KEY = "brownout"
REFUSED_KEY, REFUSED_SECONDS = "brownout:refused", 5
EXPIRES_SECONDS = 30  # without a word of the sweeper
LEVEL_MAX = 3
WINDOW_SECONDS = 20
SAMPLES_MIN = 5  # fewer chats say nothing about a p95
STEP_SECONDS = 10.0  # between two steps up: a step shows its effect in the window first
CALM_SHARE = 0.7  # of the target, below which a wait counts as calm again
CALM_SECONDS = 30.0  # of calm before each step down
READ_EVERY_SECONDS = 1.0
REST_SHARES = (0.0, 1.0, 3.0, 7.0)  # rest after work, in multiples of the work: a half, a quarter, an eighth is left
REST_MAX_SECONDS = 3.0  # well below what a time limit leaves after a slice
PAUSES_SECONDS = (0.0, 5.0, 15.0, 30.0)  # between two slices of a crawl


@dataclass(frozen=True)
class Brownout:
    """How far background work is slowed, since when (POSIX seconds), and the chat wait that decided it."""

    level: int = 0
    changed_at: float = 0.0
    calm_since: float | None = None
    p95_ms: float | None = None
    count: int = 0


def note_refusal() -> None:
    """Note that a chat was refused since others wait too long; background work slows down as far as it can.

    Raises:
        RedisError: if Redis is away.
    """
    client().set(REFUSED_KEY, "1", ex=REFUSED_SECONDS)


def decide(
    current: Brownout, wait: waits.Spread, *, target_ms: float, now: float, is_refusing: bool = False
) -> Brownout:
    """Return what follows: a step up while chats wait too long, a step down after a time of calm, else as it is.

    One chat alone is no reason, however long it waited: at least two of them have to be late. While chats are refused
    there is nothing left to wait for.
    """
    seen = replace(current, p95_ms=wait.p95, count=wait.count)
    if is_refusing:
        changed_at = now if current.level < LEVEL_MAX else current.changed_at
        return replace(seen, level=LEVEL_MAX, changed_at=changed_at, calm_since=None)
    late = 0.0  # nobody asks: nobody waits
    if wait.p95 is not None and wait.second is not None and wait.count >= SAMPLES_MIN:
        late = min(wait.p95, wait.second)
    if late > target_ms:
        is_due = current.level == 0 or now - current.changed_at >= STEP_SECONDS
        level = min(current.level + is_due, LEVEL_MAX)
        return replace(
            seen, level=level, changed_at=now if level != current.level else seen.changed_at, calm_since=None
        )
    if late > CALM_SHARE * target_ms:
        return replace(seen, calm_since=None)
    since = now if current.calm_since is None else current.calm_since
    if current.level and now - since >= CALM_SECONDS:
        return replace(seen, level=current.level - 1, changed_at=now, calm_since=now)
    return replace(seen, calm_since=since)


def sweep() -> int:
    """Look at the wait and keep the level; two sweepers do no harm. Return 1 if it changed."""
    try:
        current = read()
        wait = waits.read(queues.HIGH_PRIORITY, seconds=WINDOW_SECONDS).wait_ms
        is_refusing = bool(client().exists(REFUSED_KEY))
        following = decide(
            current, wait, target_ms=settings.CHAT_WAIT_TARGET_MS, now=time.time(), is_refusing=is_refusing
        )
        client().set(KEY, json.dumps(asdict(following)), ex=EXPIRES_SECONDS)
    except RedisError:
        return 0  # the level expires with it
    if following.level == current.level:
        return 0
    tell = log.warning if following.level > current.level else log.info
    tell(
        "background work slows down" if following.level > current.level else "background work speeds up",
        level=following.level, of=LEVEL_MAX, chat_wait_p95_ms=wait.p95, chats=wait.count,
        target_ms=settings.CHAT_WAIT_TARGET_MS, refusing=is_refusing,
    )  # fmt: skip
    return 1


def read() -> Brownout:
    """Return the state as the sweeper last wrote it.

    Raises:
        RedisError: if Redis is away.
    """
    text = client().get(KEY)
    return Brownout(**json.loads(text)) if text else Brownout()


class _Known:
    """The level as this process last read it."""

    level = 0
    read_at = -READ_EVERY_SECONDS
    lock = threading.Lock()


def level() -> int:
    """Return how far background work shall slow down now, 0 to `LEVEL_MAX`; never fails, and costs nothing mostly."""
    now = time.monotonic()
    with _Known.lock:
        if now - _Known.read_at < READ_EVERY_SECONDS:
            return _Known.level
        _Known.read_at = now
    try:
        _Known.level = read().level
    except (RedisError, ValueError, TypeError):
        _Known.level = 0
    return _Known.level


def window(full: int) -> int:
    """Return how many tasks may be on the queue where ``full`` may at full speed: half at each level, at least one."""
    return max(min(full, 1), full >> level())


def pause_seconds() -> float:
    """Return how long a crawl pauses between two slices."""
    return PAUSES_SECONDS[level()]


def rest_seconds(worked_seconds: float) -> float:
    """Return how long to rest after so much background work."""
    return min(REST_SHARES[level()] * worked_seconds, REST_MAX_SECONDS)


def rest(task: Any, **_kwargs: Any) -> None:
    """Let a slot of the background worker rest after each of its tasks, whatever the task is."""
    began_at = getattr(task.request, "began_at", None)
    if began_at is not None and waits.queue_of(task) == queues.LOW_PRIORITY and level():
        time.sleep(rest_seconds(time.time() - began_at))


@signals.celeryd_after_setup.connect
def follow(**_kwargs: Any) -> None:
    """Rest only after everything else that follows a task: its session is closed and its end is written."""
    signals.task_postrun.connect(rest, weak=False)
