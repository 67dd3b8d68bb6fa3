"""Redis connections of the product itself (the broker's belong to Celery).

A full pool makes callers wait instead of failing: redis-py's default pool raises at its limit. One quick second
try, no more: what lives in Redis is never the truth, so nobody waits long for it.
"""

import time
from functools import cache
from typing import Any

import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

REST_SECONDS = 5.0  # after a failure, so that not every request waits for a connection
_OPTIONS: dict[str, Any] = {
    "decode_responses": True,
    "socket_timeout": 10,
    "socket_connect_timeout": 3,
    "socket_keepalive": True,
    "health_check_interval": 10,
}


@cache
def client() -> redis.Redis:
    """Return this process's client; safe to share between threads, made after a fork by its first user."""
    pool = redis.BlockingConnectionPool.from_url(
        settings.REDIS_URL,
        max_connections=settings.REDIS_MAX_CONNECTIONS,
        timeout=10,
        retry=Retry(NoBackoff(), 1),
        **_OPTIONS,
    )
    return redis.Redis(connection_pool=pool)


class Breaker:
    """Remembers that Redis was away a moment ago."""

    def __init__(self) -> None:
        self._open_until = 0.0

    @property
    def is_open(self) -> bool:
        return time.monotonic() < self._open_until

    def open(self) -> None:
        self._open_until = time.monotonic() + REST_SECONDS

    def close(self) -> None:
        self._open_until = 0.0


def is_reachable() -> bool:
    """Tell whether the server answers within two seconds, over a connection of its own."""
    probe = redis.Redis.from_url(settings.REDIS_URL, socket_timeout=2, socket_connect_timeout=2)
    try:
        return bool(probe.ping())
    except redis.RedisError:
        return False
    finally:
        probe.close()
