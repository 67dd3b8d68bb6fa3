"""Waking those who wait for a message's stream: one Redis connection and one query for all of a web process.

A waiter holds an `asyncio.Event`, no thread and no connection. Bells come over pub/sub; because a bell can be missed
(Redis restarts, a connection breaks), every couple of seconds one query asks which of the awaited rows are over.
"""

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from weakref import WeakKeyDictionary

from asgiref.sync import sync_to_async
from django.db import Error
from redis import RedisError
from redis.asyncio.client import PubSub

from chat.models import OPEN_STATES, Message
from chat.stream import END, bell_of
from core.database import release_connection
from core.redis import async_client

log = logging.getLogger(__name__)

LOOK_EVERY_SECONDS = 2.0
RECONNECT_SECONDS = 0.5


class Waiter:
    """One who waits for a message; ``is_over`` says that its row is known to be over."""

    def __init__(self, message_id: uuid.UUID, *, only_for_end: bool, is_over: bool) -> None:
        self.message_id = message_id
        self.only_for_end = only_for_end
        self.is_over = is_over
        self._rung = asyncio.Event()
        if is_over:
            self._rung.set()

    def ring(self) -> None:
        self._rung.set()

    async def wait(self, seconds: float) -> bool:
        """Return True once rung, False if the time passed without."""
        try:
            async with asyncio.timeout(seconds):
                await self._rung.wait()
        except TimeoutError:
            return False
        self._rung.clear()
        return True


class Bells:
    """The waiters of one event loop; its two tasks run while there are any."""

    def __init__(self) -> None:
        self._waiters: dict[str, set[Waiter]] = {}  # by channel
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._pubsub: PubSub | None = None

    @asynccontextmanager
    async def waiting(
        self, message_id: uuid.UUID, *, only_for_end: bool = False, is_over: bool = False
    ) -> AsyncIterator[Waiter]:
        """Wait for the message's bells inside the block."""
        waiter = Waiter(message_id, only_for_end=only_for_end, is_over=is_over)
        channel = bell_of(message_id)
        is_first = channel not in self._waiters
        self._waiters.setdefault(channel, set()).add(waiter)
        try:
            self._ensure_running()
            if is_first:
                await self._tell("subscribe", channel)
            yield waiter
        finally:
            self._waiters[channel].discard(waiter)
            if not self._waiters[channel]:
                del self._waiters[channel]
                if self._waiters:  # else the listener is about to close the connection
                    await self._tell("unsubscribe", channel)

    def _ensure_running(self) -> None:
        for run in (self._listen, self._look_at_rows):  # each by itself: they notice at different times that all left
            if run.__name__ not in self._tasks or self._tasks[run.__name__].done():
                self._tasks[run.__name__] = asyncio.create_task(run())

    async def _tell(self, command: str, channel: str) -> None:
        if self._pubsub is None:
            return  # the listener subscribes to all when it connects
        try:
            await getattr(self._pubsub, command)(channel)
        except (RedisError, OSError, AttributeError):  # the last is redis-py's own, while it reconnects
            log.warning("bells: could not %s", command)

    async def _listen(self) -> None:
        while self._waiters:
            try:
                async with async_client().pubsub() as pubsub:
                    await pubsub.subscribe(*self._waiters)
                    await self._hear_all(pubsub)
            except (RedisError, OSError) as exc:
                log.warning("bells: no connection to Redis: %s", type(exc).__name__)
                await asyncio.sleep(RECONNECT_SECONDS)

    async def _hear_all(self, pubsub: PubSub) -> None:
        self._pubsub = pubsub
        self._ring_all()
        try:
            while self._waiters:
                self._hear(await pubsub.get_message(timeout=1.0))
        finally:
            self._pubsub = None  # before it closes: nobody shall speak on a closing connection

    def _hear(self, said: dict[str, Any] | None) -> None:
        """Ring the channel's waiters; also when Redis confirms a subscription, for what came just before it."""
        if said is None or said["type"] not in ("message", "subscribe"):
            return
        is_mere_text = said["type"] == "message" and said["data"] != END
        for waiter in self._waiters.get(said["channel"], ()):
            if not (is_mere_text and waiter.only_for_end):
                waiter.ring()

    def _ring_all(self) -> None:
        for waiters in self._waiters.values():
            for waiter in waiters:
                waiter.ring()

    async def _look_at_rows(self) -> None:
        while self._waiters:
            await asyncio.sleep(LOOK_EVERY_SECONDS)
            ids = [waiter.message_id for waiters in self._waiters.values() for waiter in waiters]
            try:
                over = await sync_to_async(_over, thread_sensitive=False)(ids)
            except Error as exc:
                log.warning("bells: rows not readable: %s", type(exc).__name__)
                continue
            for message_id in over:
                for waiter in self._waiters.get(bell_of(message_id), ()):
                    waiter.is_over = True
                    waiter.ring()


def _over(message_ids: list[uuid.UUID]) -> list[uuid.UUID]:
    try:
        over = Message.objects.filter(pk__in=message_ids).exclude(state__in=OPEN_STATES)
        return list(over.values_list("pk", flat=True))
    finally:
        release_connection()


_bells: WeakKeyDictionary[asyncio.AbstractEventLoop, Bells] = WeakKeyDictionary()


def bells() -> Bells:
    """Return the bells of the running event loop."""
    return _bells.setdefault(asyncio.get_running_loop(), Bells())
