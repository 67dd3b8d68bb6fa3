"""Whether background work waits for a slot: what decides between a long turn and a short one (docs/fairness.md).

A worker that finds nobody waiting may go on with what it has, and ask others to help. Once anybody waits, every turn
ends after about a second, and each tenant has only a few messages in line: so all take turns, however much one has.
"""

import time

from redis import RedisError

from core import queues
from core.redis import client

SHARED_SECONDS = 1.0  # of a turn while others wait


def others_wait() -> bool:
    """Return whether a message waits in ``low_priority``; False if Redis cannot say."""
    try:
        return bool(client().llen(queues.LOW_PRIORITY))
    except RedisError:
        return False


class Turn:
    """The time one task has: ``seconds``, or only ``shared_seconds`` as soon as others wait."""

    def __init__(self, seconds: float, *, shared_seconds: float | None = None) -> None:
        self.started = time.monotonic()
        self.ends_at = self.started + seconds
        self.shared_seconds = SHARED_SECONDS if shared_seconds is None else shared_seconds

    def seconds_left(self) -> float:
        """Return what is left at most; negative once it is over."""
        return self.ends_at - time.monotonic()

    def is_over(self) -> bool:
        now = time.monotonic()
        return now >= self.ends_at or (now >= self.started + self.shared_seconds and others_wait())
