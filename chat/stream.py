"""The live text of an answer: one Redis Stream per message, written by the worker that answers.

Every entry is ``{event, attempt, data}``. Events: ``status`` {state}, ``sources`` {citations} (all so far),
``delta`` {text}, ``reset`` {} (drop the text shown so far), ``done`` and ``error`` (the message's body; nothing
follows). The row is the truth; a stream that is lost costs the person the liveliness, never the answer.
"""

import json
import logging
import time
import uuid
from typing import Any

from redis import RedisError

from core.redis import client

log = logging.getLogger(__name__)

MAX_ENTRIES = 5000
KEEP_SECONDS = 3600
FLUSH_SECONDS = 0.12
RETRY_SECONDS = 2.0
LAST_EVENTS = ("done", "error")
SCAN_COUNT = 1000
NEVER = -1  # what Redis calls the rest of an endless life
END = "end"  # what the bell says when the last event is written


def key_of(message_id: uuid.UUID | str) -> str:
    return f"chat:stream:{message_id}"


def bell_of(message_id: uuid.UUID | str) -> str:
    return f"chat:bell:{message_id}"


def append(message_id: uuid.UUID | str, entries: list[tuple[str, int, dict[str, Any]]]) -> None:
    """Write events and ring those who wait for them, in one round trip.

    Raises:
        RedisError: if Redis is away.
    """
    pipe = client().pipeline(transaction=False)
    for event, attempt, data in entries:
        fields: dict[Any, Any] = {
            "event": event,
            "attempt": attempt,
            "data": json.dumps(data, ensure_ascii=False),
        }
        pipe.xadd(key_of(message_id), fields, maxlen=MAX_ENTRIES, approximate=True)
    pipe.expire(key_of(message_id), KEEP_SECONDS)
    pipe.publish(bell_of(message_id), END if entries[-1][0] in LAST_EVENTS else "")
    pipe.execute()


def append_end(message_id: uuid.UUID, attempt: int, event: str, body: dict[str, Any]) -> None:
    """Write the last event of a message that no worker holds; without Redis its readers see the row instead."""
    try:
        append(message_id, [(event, attempt, body)])
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
    """Writes one attempt's events, text at most once per `FLUSH_SECONDS`.

    When Redis fails, it is left alone for a while; then the whole text so far is written again after a ``reset``.
    """

    def __init__(self, message_id: uuid.UUID, attempt: int) -> None:
        self._message_id = message_id
        self._attempt = attempt
        self._text = ""
        self._unsent = ""
        self._sources: dict[str, Any] | None = None
        self._flushed_at = 0.0
        self._broken_until = 0.0
        if attempt > 1:
            self._write([("reset", {})])

    @property
    def text(self) -> str:
        return self._text

    def status(self, state: str) -> None:
        self._write([("status", {"state": state})])

    def sources(self, citations: list[dict[str, Any]]) -> None:
        self.flush()
        self._sources = {"citations": citations}
        self._write([("sources", self._sources)])

    def delta(self, text: str) -> None:
        self._text += text
        self._unsent += text
        self.tick()

    def tick(self) -> None:
        """Send what waits, if it is time."""
        if self._unsent and time.monotonic() - self._flushed_at >= FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        if self._unsent:
            unsent, self._unsent = self._unsent, ""
            self._flushed_at = time.monotonic()
            self._write([("delta", {"text": unsent})])

    def end(self, event: str, body: dict[str, Any]) -> None:
        self.flush()
        self._write([(event, body)])

    def _write(self, events: list[tuple[str, dict[str, Any]]]) -> None:
        now = time.monotonic()
        is_last = events[-1][0] in LAST_EVENTS
        if now < self._broken_until and not is_last:
            return
        if self._broken_until:
            events = self._all_again() + [event for event in events if event[0] not in ("delta", "sources")]
        try:
            append(self._message_id, [(name, self._attempt, data) for name, data in events])
            self._broken_until = 0.0
        except RedisError as exc:
            log.warning("chat stream not written: %s", type(exc).__name__)
            self._broken_until = time.monotonic() + RETRY_SECONDS

    def _all_again(self) -> list[tuple[str, dict[str, Any]]]:
        events: list[tuple[str, dict[str, Any]]] = [("reset", {})]
        if self._sources:
            events.append(("sources", self._sources))
        return [*events, ("delta", {"text": self._text[: len(self._text) - len(self._unsent)]})]
