"""Writing the text of all answers of an event loop: one round trip to Redis at each beat, however many there are."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakKeyDictionary

from redis import RedisError

from chat.pulse import pulse
from chat.stream import Writer, append_all

log = logging.getLogger(__name__)


class Flusher:
    """Knows the writers of the running answers and writes what waits in them."""

    def __init__(self) -> None:
        self._writers: set[Writer] = set()
        self._flushing: asyncio.Task[None] | None = None
        self._is_due = False  # once more, when what is on its way has arrived

    @asynccontextmanager
    async def following(self, writer: Writer) -> AsyncIterator[None]:
        """Write the writer's events inside the block; afterwards nothing of it is on its way."""
        self._writers.add(writer)
        pulse().add(self.flush)
        try:
            yield
        finally:
            self._writers.discard(writer)
            if not self._writers:
                pulse().remove(self.flush)
            if self._flushing:
                await asyncio.wait([self._flushing])

    def flush(self) -> None:
        """Write what waits, after the round trip that is on its way: a first word must not wait for the next beat."""
        self._is_due = self._flushing is not None
        if not self._is_due and any(writer.has_waiting for writer in self._writers):
            self._flushing = asyncio.create_task(self._flush())

    async def _flush(self) -> None:
        taken = {writer: entries for writer in self._writers if writer.has_waiting and (entries := writer.take())}
        try:
            if taken:
                # redis-py's blocking client takes less CPU than its asynchronous one, a thread's hop included.
                entries_of = {writer.message_id: entries for writer, entries in taken.items()}
                gone = await asyncio.to_thread(append_all, entries_of)
                for writer in taken:
                    if writer.message_id in gone:
                        writer.begin_anew()
        except RedisError as exc:
            log.warning("chat streams not written: %s", type(exc).__name__)
            for writer in taken:
                writer.failed()
        finally:
            self._flushing = None
            if self._is_due:
                self.flush()


_flushers: WeakKeyDictionary[asyncio.AbstractEventLoop, Flusher] = WeakKeyDictionary()


def flusher() -> Flusher:
    """Return the flusher of the running event loop."""
    return _flushers.setdefault(asyncio.get_running_loop(), Flusher())
