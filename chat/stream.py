"""The live text of an answer: one Redis Stream per message, written by the worker that answers.

Every entry is ``{event, attempt, data}``. Events: ``status`` {state}, ``sources`` {citations} (all so far),
``delta`` {text}, ``reset`` {} (drop the text shown so far), ``done`` and ``error`` (the message's body; nothing
follows). The row is the truth; a stream that is lost costs the person the liveliness, never the answer.
"""

import logging
import time
import uuid
from typing import Any

import orjson
from redis import RedisError

from core.redis import client

log = logging.getLogger(__name__)

MAX_ENTRIES = 5000
KEEP_SECONDS = 3600
KEEP_ENDED_SECONDS = 300  # for who reads on after a break; later the row tells the same
RETRY_SECONDS = 2.0
FIRST_EVENTS = ("status", "reset")  # what a stream may begin with
LAST_EVENTS = ("done", "error")
SCAN_COUNT = 1000
Event = tuple[str, dict[str, Any]]  # name, data
Entry = tuple[str, int, dict[str, Any]]  # name, attempt, data
WAITING = "chat:waiting"  # the messages for which no model was asked yet (chat/admission.py)
WRITING = "writing"  # the state when one is
NEVER = -1  # what Redis calls the rest of an endless life


def key_of(message_id: uuid.UUID | str) -> str:
    return f"chat:stream:{message_id}"


def append(message_id: uuid.UUID, entries: list[Entry]) -> bool:
    """Write one message's events; False if its stream is gone, see `append_all`."""
    return not append_all({message_id: entries})


def append_all(entries_of: dict[uuid.UUID, list[Entry]]) -> set[uuid.UUID]:
    """Write events of any number of messages in one round trip; return the messages whose stream is gone.

    Nothing is written of those, unless the events begin with one of `FIRST_EVENTS`: a stream that Redis has lost must
    not begin in the middle of the text.

    Raises:
        RedisError: if Redis is away.
    """
    pipe = client().pipeline(transaction=False)
    place_of: dict[uuid.UUID, int] = {}
    for message_id, entries in entries_of.items():
        goes_on = entries[0][0] not in FIRST_EVENTS
        place_of[message_id] = len(pipe)
        for event, attempt, data in entries:
            fields: dict[Any, Any] = {"event": event, "attempt": attempt, "data": orjson.dumps(data)}
            pipe.xadd(key_of(message_id), fields, maxlen=MAX_ENTRIES, approximate=True, nomkstream=goes_on)
        is_over = entries[-1][0] in LAST_EVENTS
        if entries[0][0] not in ("delta", "sources"):  # the first of an attempt and the last; between them it stays set
            pipe.expire(key_of(message_id), KEEP_ENDED_SECONDS if is_over else KEEP_SECONDS)
        if ("status", WRITING) in [(name, data.get("state")) for name, _attempt, data in entries] or is_over:
            pipe.hdel(WAITING, str(message_id))
    replies = pipe.execute()
    return {message_id for message_id, place in place_of.items() if replies[place] is None}


def append_end(message_id: uuid.UUID, attempt: int, event: str, body: dict[str, Any]) -> None:
    """Write the last event of a message that no worker holds; without Redis its readers see the row instead."""
    try:
        append(message_id, [("reset", attempt, {}), (event, attempt, body)])
    except RedisError as exc:
        log.warning("chat stream not written: %s", type(exc).__name__)


def end_endless(limit: int) -> int:
    """Give an end to streams whose writer was killed before it set one; return how many, at most about ``limit``."""
    redis = client()
    ended = 0
    for key in redis.scan_iter(match=key_of("*"), count=SCAN_COUNT):
        if redis.ttl(key) == NEVER:
            ended += int(redis.expire(key, KEEP_SECONDS))
        if ended >= limit:
            break
    return ended


class Writer:
    """Gathers one attempt's events; written by `flush`, or together with others' by `chat.flushing`.

    When Redis fails, it is left alone for a while; then, as when it has lost the stream, the whole text so far is
    written again after a ``reset``.
    """

    def __init__(self, message_id: uuid.UUID, attempt: int) -> None:
        self.message_id = message_id
        self._attempt = attempt
        self._text: list[str] = []
        self._waiting: list[Event] = [("reset", {})] if attempt > 1 else []
        self._sources: dict[str, Any] | None = None
        self._broken_until = 0.0

    @property
    def text(self) -> str:
        return "".join(self._text)

    @property
    def has_waiting(self) -> bool:
        return bool(self._waiting)

    def status(self, state: str) -> None:
        self._waiting.append(("status", {"state": state}))

    def sources(self, citations: list[dict[str, Any]]) -> None:
        self._sources = {"citations": citations}
        self._waiting.append(("sources", self._sources))

    def delta(self, text: str) -> None:
        self._text.append(text)
        if self._waiting and self._waiting[-1][0] == "delta":
            self._waiting[-1][1]["text"] += text
        else:
            self._waiting.append(("delta", {"text": text}))

    def end(self, event: str, body: dict[str, Any]) -> None:
        """Write the last event and whatever waits before it."""
        self._waiting.append((event, body))
        self.flush()

    def flush(self) -> None:
        """Write what waits, in a round trip of its own."""
        waiting, entries = self._waiting, self.take()
        try:
            if entries and not append(self.message_id, entries):
                self._waiting = waiting
                self.begin_anew()
                append(self.message_id, self.take())
        except RedisError as exc:
            log.warning("chat stream not written: %s", type(exc).__name__)
            self.failed()

    def take(self) -> list[Entry]:
        """Return what waits, which then counts as written; nothing for a while after a failure."""
        waiting, self._waiting = self._waiting, []
        is_end = bool(waiting) and waiting[-1][0] in LAST_EVENTS
        if time.monotonic() < self._broken_until and not is_end:
            return []
        if self._broken_until and waiting:
            waiting = self._all_again() + [event for event in waiting if event[0] not in ("delta", "sources", "reset")]
            self._broken_until = 0.0
        return [(name, self._attempt, data) for name, data in waiting]

    def failed(self) -> None:
        """Note that what was taken last did not reach Redis."""
        self._broken_until = time.monotonic() + RETRY_SECONDS

    def begin_anew(self) -> None:
        """Note that Redis has lost the stream: all is written again, soon."""
        self._broken_until = time.monotonic()
        self._waiting.append(("reset", {}))

    def _all_again(self) -> list[Event]:
        sources: list[Event] = [("sources", self._sources)] if self._sources else []
        text: list[Event] = [("delta", {"text": self.text})] if self._text else []
        return [("reset", {}), *sources, *text]
