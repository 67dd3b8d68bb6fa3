"""Reading a message's stream while it is written, or after: for the API, the page and the command line."""

import json
import re
import uuid
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

from asgiref.sync import sync_to_async

from chat.models import Message
from chat.payload import message_body
from chat.readers import Entry, readers
from chat.stream import LAST_EVENTS
from core.database import release_connection
from core.states import State

BEGINNING = "0-0"
_EVENT_ID = re.compile(r"\d{1,20}-\d{1,20}", re.ASCII)


@dataclass(frozen=True)
class Event:
    """``id`` continues a broken stream; it is empty for events made from the row. ``text`` is its data as JSON."""

    id: str
    name: str
    attempt: int
    text: str

    @property
    def data(self) -> dict[str, Any]:
        data: dict[str, Any] = json.loads(self.text)
        return data

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
    with readers().reading(message.pk, after=after, is_over=message.is_over) as reader:
        while True:
            entries = await reader.next()
            for entry in entries:
                event = _event(entry)
                yield event
                if event.is_last:
                    return
            if reader.is_over and not entries:
                for event in await _from_row(message.pk):
                    yield event
                return
            if not entries:
                yield None


async def wait_for_end(message: Message) -> dict[str, Any]:
    """Return the message's body once it is over."""
    with readers().reading(message.pk, after=BEGINNING, is_over=message.is_over) as reader:
        while True:
            entries = await reader.next()
            if entries and (last := _event(entries[-1])).is_last:
                return last.data
            if reader.is_over and not entries:
                body, _attempt = await sync_to_async(_row_of, thread_sensitive=False)(message.pk)
                return body


def _event(entry: Entry) -> Event:
    entry_id, fields = entry
    return Event(entry_id, fields["event"], int(fields["attempt"]), fields["data"])


async def _from_row(message_id: uuid.UUID) -> list[Event]:
    body, attempt = await sync_to_async(_row_of, thread_sensitive=False)(message_id)
    parts: list[tuple[str, dict[str, Any]]] = [("reset", {})]
    if body["citations"]:
        parts.append(("sources", {"citations": body["citations"]}))
    if body["answer"]:
        parts.append(("delta", {"text": body["answer"]}))
    parts.append(("error" if body["state"] == State.FAILED else "done", body))
    return [Event("", name, attempt, json.dumps(data, ensure_ascii=False)) for name, data in parts]


def _row_of(message_id: uuid.UUID) -> tuple[dict[str, Any], int]:
    try:
        message = Message.objects.get(pk=message_id)
        return message_body(message), message.attempt
    finally:
        release_connection()
