"""How often a key may call: a sliding window in Redis, moved and checked by one script.

While Redis is away each web process counts by itself: questions are accepted without Redis (that is what Postgres is
for), and a flood still meets a limit, though one per process. Daily limits live in Postgres and hold exactly.
"""

import time
from functools import cache
from typing import Any

import structlog
from django.conf import settings
from limits import RateLimitItem, parse
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from redis import RedisError
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from core import redis
from tenants.authentication import Caller, Operator
from tenants.errors import RateLimitedError

log = structlog.get_logger(__name__)

POLICY = "api-key"
KEY_PREFIX = "rate"


class KeyThrottle(BaseThrottle):
    def allow_request(self, request: Request, view: Any) -> bool:
        """Count the call, or refuse it.

        Raises:
            RateLimitedError: if the key has called too often.
        """
        if isinstance(request.user, Caller | Operator):
            hit(str(request.user.api_key.pk))
        return True


def hit(key_id: str) -> None:
    """Count one call of the key.

    Raises:
        RateLimitedError: if that is more than `settings.API_RATE_PER_KEY`.
    """
    rate = _rate(settings.API_RATE_PER_KEY)
    limiter = _local() if _breaker.is_open else _shared()
    try:
        is_allowed, reset_at = _hit(limiter, rate, key_id)
    except (RedisError, OSError) as exc:
        _breaker.open()
        log.warning("rate limits are counted per process: Redis is away", error=type(exc).__name__)
        is_allowed, reset_at = _hit(_local(), rate, key_id)
    if not is_allowed:
        raise RateLimitedError(
            f"This key may call {rate.amount} times in {rate.get_expiry()} seconds; wait a moment.",
            policy=POLICY,
            limit=rate.amount,
            window_seconds=rate.get_expiry(),
            reset_seconds=reset_at - time.time(),
        )


_breaker = redis.Breaker()


def _hit(limiter: SlidingWindowCounterRateLimiter, rate: RateLimitItem, key_id: str) -> tuple[bool, float]:
    """Return whether the call is allowed and, if not, when the next one is, in seconds since the epoch."""
    if limiter.hit(rate, key_id):
        return True, 0.0
    return False, limiter.get_window_stats(rate, key_id).reset_time


@cache
def _rate(text: str) -> RateLimitItem:
    return parse(text)


@cache
def _shared() -> SlidingWindowCounterRateLimiter:
    pool = redis.client().connection_pool
    return SlidingWindowCounterRateLimiter(
        RedisStorage(settings.REDIS_URL, connection_pool=pool, key_prefix=KEY_PREFIX)
    )


@cache
def _local() -> SlidingWindowCounterRateLimiter:
    return SlidingWindowCounterRateLimiter(MemoryStorage())
