"""Redis connections of the product itself (the broker's belong to Celery).

A full pool makes callers wait instead of failing: redis-py's default pool raises at its limit.
"""

from functools import cache

import redis
import redis.asyncio
from django.conf import settings

_TIMEOUTS = {"socket_timeout": 10, "socket_connect_timeout": 3, "socket_keepalive": True, "health_check_interval": 10}


@cache
def client() -> redis.Redis:
    """Return this process's client; safe to share between threads, made after a fork by its first user."""
    pool = redis.BlockingConnectionPool.from_url(
        settings.REDIS_URL,
        max_connections=settings.REDIS_MAX_CONNECTIONS,
        timeout=10,
        decode_responses=True,
        **_TIMEOUTS,
    )
    return redis.Redis(connection_pool=pool)
