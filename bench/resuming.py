"""Users who keep at it: each asks until the question is accepted, and reads the answer to its end.

A stream that breaks off is taken up again with ``Last-Event-ID``, as browsers do.
"""

import asyncio
import json
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field

import httpx2

from bench import words

ASK_SECONDS = 90.0
READ_SECONDS = 180.0
PAUSE_SECONDS = 0.5
SILENCE_SECONDS = 20.0  # longer than the stream's sign of life
WAIT_SECONDS = 70.0  # longer than a request waits for its answer
WAITING_SHARE = 4  # every fourth, where some do


@dataclass
class Read:
    """One question: what was accepted, and what its reader saw."""

    number: int
    due_at: float = 0.0
    waits: bool = False  # with one request, instead of reading a stream
    refused: list[str] = field(default_factory=list)
    message_id: str = ""
    breaks: int = 0
    text: str = ""  # as the pieces add up
    answer: str = ""  # as the last event says
    state: str = ""
    ends: int = 0
    last_id: str = ""
    first_at: float | None = None  # the first text
    ended_at: float | None = None

    @property
    def first_word_s(self) -> float | None:
        """Return how long the reader waited for the first text since the question was due."""
        return None if self.first_at is None else self.first_at - self.due_at

    @property
    def whole_s(self) -> float | None:
        return None if self.ended_at is None else self.ended_at - self.due_at


async def ask_all(
    address: str,
    key: str,
    *,
    count: int,
    per_second: float,
    over: threading.Event | None = None,
    some_wait: bool = False,
) -> list[Read]:
    """Ask at a fixed rate, each question when it is due whether or not those before are answered.

    Ends early once it is ``over``; with ``some_wait``, some ask with a single request and wait for the whole answer.
    """
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=50)
    timeout = httpx2.Timeout(10.0, read=SILENCE_SECONDS)
    headers = {"X-API-Key": key}
    async with httpx2.AsyncClient(
        base_url=address, headers=headers, timeout=timeout, limits=limits, trust_env=False
    ) as client:
        begin = time.monotonic()
        reads = []
        async with asyncio.TaskGroup() as group:
            for number in range(count):
                due_at = begin + number / per_second
                await asyncio.sleep(max(0.0, due_at - time.monotonic()))
                if over is not None and over.is_set():
                    break
                reads.append(Read(number, due_at, waits=some_wait and number % WAITING_SHARE == 0))
                group.create_task(_ask_and_read(client, reads[-1]))
    return reads


async def _ask_and_read(client: httpx2.AsyncClient, read: Read) -> None:
    deadline = time.monotonic() + ASK_SECONDS
    while not read.message_id and time.monotonic() < deadline:
        await _ask(client, read)
    deadline = time.monotonic() + READ_SECONDS
    while read.message_id and not read.ends and time.monotonic() < deadline:
        with suppress(httpx2.HTTPError, OSError):
            await _follow(client, read)
        if not read.ends:
            read.breaks += 1
            await asyncio.sleep(PAUSE_SECONDS)


async def _ask(client: httpx2.AsyncClient, read: Read) -> None:
    body = {"question": words.question(read.number), "user_id": f"user-{read.number}"}
    headers = {} if read.waits else {"Prefer": "respond-async"}
    try:
        response = await client.post("/api/v1/query/", json=body, headers=headers, timeout=WAIT_SECONDS)
    except (httpx2.HTTPError, OSError) as exc:
        read.refused.append(type(exc).__name__)
    else:
        if response.status_code in (200, 202):
            read.message_id = response.json()["message_id"]
            if response.status_code == 200:
                read.text = response.json()["answer"]
                _take(read, "done", response.json())
            return
        read.refused.append(str(response.status_code))
    await asyncio.sleep(PAUSE_SECONDS)


async def _follow(client: httpx2.AsyncClient, read: Read) -> None:
    headers = {"Last-Event-ID": read.last_id} if read.last_id else {}
    event = ""
    async with client.stream("GET", f"/api/v1/messages/{read.message_id}/stream", headers=headers) as response:
        if response.status_code != 200:
            return
        async for line in response.aiter_lines():
            name, _, value = line.partition(": ")
            if name == "id":
                read.last_id = value
            elif name == "event":
                event = value
            elif name == "data":
                _take(read, event, json.loads(value))
                if read.ends:
                    return


def _take(read: Read, event: str, data: dict[str, object]) -> None:
    if event == "reset":
        read.text = ""
    elif event == "delta":
        read.text += str(data["text"])
        read.first_at = read.first_at or time.monotonic()
    elif event in ("done", "error"):
        read.ends += 1
        read.ended_at = time.monotonic()
        read.state, read.answer = event, str(data["answer"])
