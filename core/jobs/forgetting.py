"""Noticing that messages were lost, so that rows need not wait until theirs counts as lost."""

from typing import Any

from celery import signals
from redis import RedisError

from core.redis import client

MARKS = "jobs:marks"


def has_forgotten(who: str) -> bool:
    """Tell, once to each caller, that messages may be lost: Redis is new or was emptied, or a worker has started.

    A mark that each caller leaves in Redis is gone then. Without Redis nothing is known.
    """
    try:
        return bool(client().hsetnx(MARKS, who, "1"))
    except (RedisError, OSError):
        return False


@signals.worker_ready.connect
def forget(**_kwargs: Any) -> None:
    """Take the marks away: a worker that died, or ran before this one, may have had messages in its hands."""
    try:
        client().delete(MARKS)
    except (RedisError, OSError):
        return  # the broker comes first for a worker; the pauses between two rings end by themselves
