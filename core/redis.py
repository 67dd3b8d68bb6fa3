"""Redis connections of the product itself (the broker's belong to Celery).

A full pool makes callers wait instead of failing: redis-py's default pool raises at its limit. One quick second
try, no more: what lives in Redis is never the truth, so nobody waits long for it.
"""

import asyncio
from functools import cache
from typing import Any
from weakref import WeakKeyDictionary

import redis
import redis.asyncio
from django.conf import settings
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

_OPTIONS: dict[str, Any] = {
    "decode_responses": True,
    "socket_timeout": 10,
    "socket_connect_timeout": 3,
    "socket_keepalive": True,
    "health_check_interval": 10,
}
_async_clients: WeakKeyDictionary[asyncio.AbstractEventLoop, redis.asyncio.Redis] = WeakKeyDictionary()


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


def async_client() -> redis.asyncio.Redis:
    """Return the client of the running event loop; a web process has one loop, so one pool."""
    loop = asyncio.get_running_loop()
    if loop not in _async_clients:
        pool = redis.asyncio.BlockingConnectionPool.from_url(
            settings.REDIS_URL,
            max_connections=settings.REDIS_MAX_CONNECTIONS,
            timeout=10,
            retry=AsyncRetry(NoBackoff(), 1),
            **_OPTIONS,
        )
        _async_clients[loop] = redis.asyncio.Redis(connection_pool=pool)
    return _async_clients[loop]


def is_reachable() -> bool:
    """Tell whether the server answers within two seconds, over a connection of its own."""
    probe = redis.Redis.from_url(settings.REDIS_URL, socket_timeout=2, socket_connect_timeout=2)
    try:
        return bool(probe.ping())
    except redis.RedisError:
        return False
    finally:
        probe.close()
