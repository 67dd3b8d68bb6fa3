"""Noticing that the broker has lost its memory, so that rows need not wait until their message counts as lost."""

from redis import RedisError

from core.redis import client


def has_forgotten(who: str) -> bool:
    """Tell, once to each caller, that Redis is new or was emptied: no message is on its way any more.

    A mark that each caller leaves there is gone then. Without Redis nothing is known.
    """
    try:
        return bool(client().set(f"jobs:mark:{who}", 1, nx=True))
    except (RedisError, OSError):
        return False
