"""An answer as it grows, already as HTML: the page needs no renderer and no sanitiser of its own."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

from django.utils import translation

from chat.following import BEGINNING, Event, follow
from chat.models import Message
from chat.pages.presenting import SEARCHING, WRITING, Answer, present, state_of

UPDATE_SECONDS = 0.1
RENDER_SHARE = 0.05  # of one processor that a single reader may cost


class Reader:
    """Puts one message's events together to the answer so far."""

    def __init__(self, message: Message, after: str) -> None:
        self.message = message
        self.after = _order(after)
        self.text = ""
        self.citations: list[dict[str, Any]] = []
        self.body: dict[str, Any] | None = None
        self.event_id = ""
        self.has_news = False
        self.is_over = False
        self.changed = asyncio.Event()  # set by a sign of life, too

    async def read(self) -> None:
        try:
            async for event in follow(self.message, after=BEGINNING):
                if event is not None:
                    self._take(event)
                self.changed.set()
        finally:
            self.changed.set()

    def _take(self, event: Event) -> None:
        match event.name:
            case "delta":
                self.text += event.data["text"]
            case "reset":
                self.text, self.citations = "", []
            case "sources":
                self.citations = event.data["citations"]
            case "done" | "error":
                self.body = event.data
        self.event_id = event.id
        self.has_news = self.has_news or event.is_last or not event.id or _order(event.id) > self.after

    def answer(self) -> Answer:
        if self.body is None:
            state = WRITING if self.text else SEARCHING
            return present(message_id=str(self.message.pk), state=state, markdown=self.text, citations=self.citations)
        return present(
            message_id=str(self.message.pk),
            state=state_of(self.body["state"], self.body["finish_reason"]),
            markdown=self.body["answer"],
            citations=self.body["citations"],
            model=self.body["model"],
            error_code=(self.body["error"] or {}).get("code", ""),
            rating=self.body["rating"] or "",
        )


async def lines(message: Message, *, language: str, after: str) -> AsyncIterator[str]:
    """Yield Server-Sent Events ``update`` and, last, ``end``: ``{state, status, html}`` with the whole answer so far.

    What came up to ``after`` is read again, since an update tells all, but not sent. A long answer is shown in
    larger steps: rendering it costs more.
    """
    reader = Reader(message, after)
    reading = asyncio.create_task(reader.read())
    yield "retry: 1000\n\n"
    try:
        while not reader.is_over:
            await reader.changed.wait()
            reader.changed.clear()
            if reading.done():
                reading.result()
            if not reader.has_news:
                yield ": still here\n\n"
                continue
            began = time.perf_counter()
            yield _event(reader, language)
            await asyncio.sleep(0 if reader.is_over else max(UPDATE_SECONDS, _since(began) / RENDER_SHARE))
        await reading
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


def _since(began: float) -> float:
    return time.perf_counter() - began


def _order(event_id: str) -> tuple[int, ...]:
    return tuple(int(part) for part in event_id.split("-"))


def _event(reader: Reader, language: str) -> str:
    """Return the event that tells the answer so far; what comes after it is news again."""
    name, event_id, reader.has_news = ("end" if reader.body else "update"), reader.event_id, False
    with translation.override(language):
        answer = reader.answer()
        data = json.dumps({"state": answer.state, "status": answer.status, "html": answer.as_html()})
    reader.is_over = name == "end"
    head = f"id: {event_id}\n" if event_id else ""
    return f"{head}event: {name}\ndata: {data}\n\n"
