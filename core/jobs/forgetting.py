"""Noticing that messages were lost, so that rows need not wait until theirs counts as lost."""

from contextlib import suppress
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


def forget(who: str) -> None:
    """Take the mark of one away: a worker has died that may have had its messages in its hands."""
    with suppress(RedisError, OSError):  # the pauses between two rings end by themselves
        client().hdel(MARKS, who)


@signals.worker_ready.connect
def forget_all(**_kwargs: Any) -> None:
    """Take all marks away: whoever ran before this worker may have died with messages in its hands."""
    with suppress(RedisError, OSError):
        client().delete(MARKS)
