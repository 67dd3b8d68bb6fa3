"""Reading the streams of all answers that people follow in this process: one round trip at each beat for all of them.

A reader holds no thread and no connection. Asking Redis for 100 streams at once costs less than being told of 100 by
name and asking for each, and nothing told can be missed. Every couple of seconds one query asks which of the followed
rows are over, so an answer also ends for its readers while Redis is away.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

from asgiref.sync import sync_to_async
from django.db import Error, connection
from redis import RedisError

from chat.stream import key_of
from core.database import release_connection
from core.postgres import prepared
from core.redis import client

log = logging.getLogger(__name__)

BEAT_SECONDS = 0.03  # for a few readers
BEAT_MAX_SECONDS = 0.06
PER_READER_SECONDS = 0.0002  # their writers slow with many, too (chat/pulse.py)
REST_SHARE, REST_MAX_SECONDS = 0.5, 0.15  # of a stream, until its next text can be there
READING_SHARE = 0.1  # of the time; 1,000 streams that all have news take 15 ms
RETRY_SECONDS = 0.5
LOOK_EVERY_SECONDS = 2.0
SILENCE_SECONDS = 15.0  # after which a reader gets a sign of life
ENTRIES_MAX = 200  # of one stream at one beat

Entry = tuple[str, dict[str, str]]  # id, {event, attempt, data}
_OVER = "SELECT id FROM chat_message WHERE id = ANY(%s::uuid[]) AND state NOT IN ('queued', 'running')"


class Reader:
    """One who follows a message; ``is_over`` says that its row is known to be over."""

    def __init__(self, message_id: uuid.UUID, *, after: str, is_over: bool) -> None:
        self.message_id = message_id
        self.key = key_of(message_id)
        self.after = after
        self.is_over = is_over
        self._entries: list[Entry] = []
        self._woken = asyncio.Event()
        self._heard_at = time.monotonic()
        self._text_at: float | None = None
        self._rests_until = 0.0

    def take(self, entries: list[Entry]) -> None:
        self._entries += entries
        self.after = entries[-1][0]
        self._woken.set()
        if entries[-1][1]["event"] == "delta":
            self._rest()

    def _rest(self) -> None:
        """Let the stream rest for half of the pause before this text: its writer writes at a beat."""
        now = time.monotonic()
        if self._text_at is not None:
            self._rests_until = now + min(REST_SHARE * (now - self._text_at), REST_MAX_SECONDS)
        self._text_at = now

    @property
    def is_due(self) -> bool:
        return time.monotonic() >= self._rests_until

    def wake(self) -> None:
        self._woken.set()

    @property
    def has_waited(self) -> bool:
        """Whether it is to be told that nothing came: because of the silence, or because nothing will."""
        return self.is_over or time.monotonic() - self._heard_at > SILENCE_SECONDS

    async def next(self) -> list[Entry]:
        """Return what came since; nothing after a long silence, or once the row is over and nothing more came."""
        await self._woken.wait()  # no timer of its own: one for each piece took as long as sending it
        self._woken.clear()
        self._heard_at = time.monotonic()
        entries, self._entries = self._entries, []
        return entries


class Readers:
    """The readers of one event loop; its two tasks run while there are any."""

    def __init__(self) -> None:
        self._readers: set[Reader] = set()
        self._tasks: dict[str, asyncio.Task[None]] = {}

    @contextmanager
    def reading(self, message_id: uuid.UUID, *, after: str, is_over: bool) -> Iterator[Reader]:
        """Read the message's stream inside the block."""
        reader = Reader(message_id, after=after, is_over=is_over)
        self._readers.add(reader)
        for run in (self._read_streams, self._look_at_rows):  # each notices at its own time that all have left
            if run.__name__ not in self._tasks or self._tasks[run.__name__].done():
                self._tasks[run.__name__] = asyncio.create_task(run())
        try:
            yield reader
        finally:
            self._readers.discard(reader)

    async def _read_streams(self) -> None:
        while self._readers:
            readers = [reader for reader in self._readers if reader.is_due]
            began = time.monotonic()
            try:
                # The blocking client takes less CPU than the asynchronous one, the hop into a thread included.
                found = await asyncio.to_thread(_read, [(reader.key, reader.after) for reader in readers])
            except (RedisError, OSError) as exc:
                log.warning("chat streams not read: %s", type(exc).__name__)
                found = {}
                await asyncio.sleep(RETRY_SECONDS)
            for reader in readers:
                if entries := found.get((reader.key, reader.after)):
                    reader.take(entries)
                elif reader.has_waited:
                    reader.wake()
            beat = min(BEAT_SECONDS + PER_READER_SECONDS * len(self._readers), BEAT_MAX_SECONDS)
            await asyncio.sleep(max(beat, (time.monotonic() - began) / READING_SHARE))

    async def _look_at_rows(self) -> None:
        while self._readers:
            await asyncio.sleep(LOOK_EVERY_SECONDS)
            readers = list(self._readers)
            try:
                over = await sync_to_async(_over, thread_sensitive=False)({reader.message_id for reader in readers})
            except Error as exc:
                log.warning("chat rows not readable: %s", type(exc).__name__)
                continue
            for reader in readers:
                reader.is_over = reader.is_over or reader.message_id in over


def _read(places: list[tuple[str, str]]) -> dict[tuple[str, str], list[Entry]]:
    """Return what each stream holds after each of the places ``(key, id)``, for those that hold anything."""
    found: dict[tuple[str, str], list[Entry]] = {}
    todo = set(places)  # of nobody, if all rest
    while todo:  # once, unless a stream is read from several places
        round_: dict[Any, Any] = dict(todo)
        streams: Any = client().xread(round_, count=ENTRIES_MAX)
        for key, entries in streams:
            found[key, round_[key]] = entries
        todo -= set(round_.items())
    return found


def _over(message_ids: set[uuid.UUID]) -> set[uuid.UUID]:
    try:
        with connection.cursor() as cursor:
            prepared.execute(cursor, _OVER, [list(message_ids)])
            return {message_id for (message_id,) in cursor.fetchall()}
    finally:
        release_connection()


_readers: WeakKeyDictionary[asyncio.AbstractEventLoop, Readers] = WeakKeyDictionary()


def readers() -> Readers:
    """Return the readers of the running event loop."""
    return _readers.setdefault(asyncio.get_running_loop(), Readers())
