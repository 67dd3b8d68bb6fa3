"""A message's events as Server-Sent Events; the chat page and the API share it."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

from django.http import HttpRequest, StreamingHttpResponse

from chat.following import Event, follow, position
from chat.models import Message


class EventStream(StreamingHttpResponse):
    """Hands its bytes to the server as they are; Django's own two generators around them cost each event as much."""

    def __init__(self, lines: AsyncGenerator[bytes], **options: Any) -> None:
        super().__init__(lines, **options)
        self._lines = lines

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._lines


def event_stream(message: Message, request: HttpRequest) -> StreamingHttpResponse:
    """Return the stream of the message, from where the browser's ``Last-Event-ID`` says it broke off."""
    after = position(request.headers.get("Last-Event-ID") or request.GET.get("last_event_id"))
    response = EventStream(_lines(message, after), content_type="text/event-stream; charset=utf-8")
    response["Cache-Control"] = "no-store"
    response["X-Accel-Buffering"] = "no"  # a proxy must not collect what is meant to flow
    return response


async def _lines(message: Message, after: str) -> AsyncGenerator[bytes]:
    yield b"retry: 1000\n\n"
    async with aclosing(follow(message, after=after)) as events:
        async for event in events:
            yield b": still here\n\n" if event is None else _as_bytes(event)


def _as_bytes(event: Event) -> bytes:
    separator = "" if event.text == "{}" else ", "
    data = f'{event.text[:-1]}{separator}"attempt": {event.attempt}}}'  # 60 times an answer: not parsed to be written
    head = f"id: {event.id}\n" if event.id else ""
    return f"{head}event: {event.name}\ndata: {data}\n\n".encode()
