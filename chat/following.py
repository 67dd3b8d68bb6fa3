"""Reading a message's stream while it is written, or after: for the API, the page and the command line."""

import json
import logging
import re
import uuid
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

from asgiref.sync import sync_to_async
from redis import RedisError

from chat.bells import bells
from chat.models import Message
from chat.payload import message_body
from chat.stream import LAST_EVENTS, key_of
from core.database import release_connection
from core.redis import async_client
from core.states import State

log = logging.getLogger(__name__)

BEGINNING = "0-0"
HEARTBEAT_SECONDS = 15.0
_EVENT_ID = re.compile(r"\d{1,20}-\d{1,20}", re.ASCII)


@dataclass(frozen=True)
class Event:
    """``id`` continues a broken stream; it is empty for events made from the row."""

    id: str
    name: str
    attempt: int
    data: dict[str, Any]

    @property
    def is_last(self) -> bool:
        return self.name in LAST_EVENTS


def position(last_event_id: str | None) -> str:
    """Return where to go on after this id; anything that is none begins at the beginning."""
    return last_event_id if last_event_id and _EVENT_ID.fullmatch(last_event_id) else BEGINNING


async def follow(message: Message, *, after: str = BEGINNING) -> AsyncGenerator[Event | None, None]:
    """Yield the message's events after ``after`` up to the last one; None is a sign of life in silence.

    Without Redis, or after the stream has expired, the whole answer comes from the row once it is over.
    """
    async with bells().waiting(message.pk, is_over=message.is_over) as waiter:
        while True:
            events = await _read(message.pk, after)
            for event in events:
                after = event.id
                yield event
                if event.is_last:
                    return
            if waiter.is_over and not events:
                for event in await _from_row(message.pk):
                    yield event
                return
            if not events and not await waiter.wait(HEARTBEAT_SECONDS):
                yield None


async def wait_for_end(message: Message) -> dict[str, Any]:
    """Return the message's body once it is over; wakes once, not at every word."""
    async with bells().waiting(message.pk, only_for_end=True, is_over=message.is_over) as waiter:
        while True:
            body = await _last_event_body(message.pk)
            if body is None and waiter.is_over:
                body, _attempt = await sync_to_async(_row_of, thread_sensitive=False)(message.pk)
            if body is not None:
                return body
            await waiter.wait(HEARTBEAT_SECONDS)


async def _read(message_id: uuid.UUID, after: str) -> list[Event]:
    try:
        entries: Any = await async_client().xrange(key_of(message_id), min=f"({after}")
    except (RedisError, OSError) as exc:
        log.warning("chat stream not read: %s", type(exc).__name__)
        return []
    return [_event(entry_id, fields) for entry_id, fields in entries]


async def _last_event_body(message_id: uuid.UUID) -> dict[str, Any] | None:
    try:
        entries: Any = await async_client().xrevrange(key_of(message_id), count=1)
    except (RedisError, OSError) as exc:
        log.warning("chat stream not read: %s", type(exc).__name__)
        return None
    events = [_event(entry_id, fields) for entry_id, fields in entries]
    return events[0].data if events and events[0].is_last else None


def _event(entry_id: str, fields: dict[str, str]) -> Event:
    return Event(entry_id, fields["event"], int(fields["attempt"]), json.loads(fields["data"]))


async def _from_row(message_id: uuid.UUID) -> list[Event]:
    body, attempt = await sync_to_async(_row_of, thread_sensitive=False)(message_id)
    parts: list[tuple[str, dict[str, Any]]] = [("reset", {})]
    if body["citations"]:
        parts.append(("sources", {"citations": body["citations"]}))
    if body["answer"]:
        parts.append(("delta", {"text": body["answer"]}))
    parts.append(("error" if body["state"] == State.FAILED else "done", body))
    return [Event("", name, attempt, data) for name, data in parts]


def _row_of(message_id: uuid.UUID) -> tuple[dict[str, Any], int]:
    try:
        message = Message.objects.get(pk=message_id)
        return message_body(message), message.attempt
    finally:
        release_connection()
