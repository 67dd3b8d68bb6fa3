"""Work on many rows in short statements: no long locks, and an end in sight for whoever runs it."""

import time
from collections.abc import Callable, Mapping

import structlog
from django.db import Error
from redis import RedisError

log = structlog.get_logger(__name__)

BATCH = 1000
SECONDS = 90.0  # of one run, below the time limits of tasks; the rest waits for the next

Step = Callable[[int], int]  # touches at most so many rows in one statement or transaction, and returns how many


class CleaningError(Exception):
    """Some steps failed; ``counts`` is of the others, which were done."""

    def __init__(self, message: str, counts: dict[str, int]) -> None:
        super().__init__(message)
        self.counts = counts


def run(steps: Mapping[str, Step], *, seconds: float = SECONDS) -> dict[str, int]:
    """Take each step until it finds no more; return the counts by name.

    Each may use its equal share of the time that is left, and gets one batch at least, so none waits for ever behind
    another. One that fails does not keep the others from their turn.

    Raises:
        CleaningError: if a step failed, after all had their turn.
    """
    ends_at = time.monotonic() + seconds
    counts: dict[str, int] = {}
    errors: list[Exception] = []
    for done, (name, step) in enumerate(steps.items()):
        share = (ends_at - time.monotonic()) / (len(steps) - done)
        try:
            counts[name] = in_batches(step, seconds=share)
        except (Error, RedisError) as exc:
            log.exception("a step of cleaning failed", step=name)
            errors.append(exc)
    if errors:
        raise CleaningError(f"{len(errors)} of {len(steps)} steps failed", counts) from errors[0]
    log.info("cleaned", **counts)
    return counts


def in_batches(step: Step, *, seconds: float) -> int:
    """Repeat the step until a batch is short or the time is up; return the sum."""
    deadline = time.monotonic() + seconds
    total = 0
    while True:
        count = step(BATCH)
        total += count
        if count < BATCH or time.monotonic() >= deadline:
            return total
