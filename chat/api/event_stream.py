"""A message's events as Server-Sent Events; the chat page and the API share it."""

import json
from collections.abc import AsyncIterator
from contextlib import aclosing

from django.http import HttpRequest, StreamingHttpResponse

from chat.following import Event, follow, position
from chat.models import Message
from core.database import release_request_thread


def event_stream(message: Message, request: HttpRequest) -> StreamingHttpResponse:
    """Return the stream of the message, from where the browser's ``Last-Event-ID`` says it broke off."""
    after = position(request.headers.get("Last-Event-ID") or request.GET.get("last_event_id"))
    response = StreamingHttpResponse(_lines(message, after), content_type="text/event-stream; charset=utf-8")
    response["Cache-Control"] = "no-store"
    response["X-Accel-Buffering"] = "no"  # a proxy must not collect what is meant to flow
    return response


async def _lines(message: Message, after: str) -> AsyncIterator[str]:
    # Here, not in the view: the middleware that runs after the view takes a thread again.
    await release_request_thread()
    yield "retry: 1000\n\n"
    async with aclosing(follow(message, after=after)) as events:
        async for event in events:
            yield ": still here\n\n" if event is None else _as_text(event)


def _as_text(event: Event) -> str:
    data = json.dumps(event.data | {"attempt": event.attempt}, ensure_ascii=False)
    head = f"id: {event.id}\n" if event.id else ""
    return f"{head}event: {event.name}\ndata: {data}\n\n"
