"""Users who ask at a fixed rate and read their answers as they stream: a process of its own, cheap to run.

``python -m bench.load_generator ORDER SAMPLES`` reads an `Order` as JSON and writes one `Sample` per line; `bench.load`
starts it. The model is open: each question is asked when it is due whether or not those before are answered,
over a connection of its own, and every time counts from that moment.
"""

import asyncio
import json
import re
import sys
import time
from dataclasses import asdict, dataclass
from urllib.parse import urlsplit

import uvloop

from bench import descriptors, words

USERS = 1000
_STATUS = re.compile(rb"HTTP/1\.1 (\d{3})")
_MARKS = {b"event: delta": "first_ms", b"event: done": "done_ms", b"event: error": "error_ms"}
_LONGEST_MARK = max(map(len, _MARKS))
START_SECONDS = 0.5


@dataclass(frozen=True)
class Order:
    """What to ask: ``count`` questions, ``per_second``; the first has the number ``first``."""

    address: str
    keys: list[str]  # taken in turn
    count: int
    per_second: float
    timeout_seconds: float
    begin_at: float = 0.0  # POSIX seconds, or at once
    first: int = 0
    suffix: str = ""


@dataclass
class Sample:
    """One question; milliseconds since it was due. A refused one has a status and nothing more."""

    number: int
    due_s: float  # since the first one was due
    late_ms: float = 0.0  # how late it was sent: the generator's own failing
    status: int = 0
    status_ms: float | None = None
    first_ms: float | None = None
    done_ms: float | None = None
    error_ms: float | None = None
    retry_after_s: int | None = None
    failure: str = ""

    @property
    def is_answered(self) -> bool:
        return self.done_ms is not None

    @property
    def is_refused(self) -> bool:
        return self.status == 429


class User(asyncio.Protocol):
    """One question and the reading of its answer."""

    def __init__(self, order: Order, sample: Sample, due: float) -> None:
        self._order, self._sample, self._due = order, sample, due
        self._loop = asyncio.get_running_loop()
        self._tail = b""
        self.over: asyncio.Future[None] = self._loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._transport.write(_request(self._order, self._sample.number))
        self._sample.late_ms = self._now()

    def data_received(self, data: bytes) -> None:
        sample = self._sample
        text = self._tail + data
        if not sample.status and (status := _STATUS.match(text)):
            sample.status, sample.status_ms = int(status[1]), self._now()
        for mark, field in _MARKS.items():
            if getattr(sample, field) is None and mark in text:
                setattr(sample, field, self._now())
        self._tail = text[-_LONGEST_MARK:] if sample.status == 200 else text
        if sample.done_ms is not None or sample.error_ms is not None:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        sample = self._sample
        if sample.status != 200:
            sample.failure = self._tail.decode(errors="replace")[-400:]
            found = re.search(rb"(?i)retry-after: *(\d+)", self._tail)
            sample.retry_after_s = int(found[1]) if found else None
        elif sample.done_ms is None:
            sample.failure = f"stream ended: {self._tail!r} {exc or ''}"
        if not self.over.done():
            self.over.set_result(None)

    def _now(self) -> float:
        return round((self._loop.time() - self._due) * 1000, 2)


def _request(order: Order, number: int) -> bytes:
    body = json.dumps(
        {"question": words.question(number) + order.suffix, "user_id": f"user-{number % USERS}"}, ensure_ascii=False
    ).encode()
    lines = (
        "POST /api/v1/query/ HTTP/1.1",
        f"Host: {urlsplit(order.address).netloc}",
        f"X-API-Key: {order.keys[number % len(order.keys)]}",
        "Accept: text/event-stream",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Connection: close",
    )
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def _ask(order: Order, sample: Sample, due: float) -> None:
    target = urlsplit(order.address)
    try:
        async with asyncio.timeout_at(due + order.timeout_seconds):
            transport, user = await asyncio.get_running_loop().create_connection(
                lambda: User(order, sample, due), target.hostname, target.port
            )
            try:
                await user.over
            finally:
                transport.abort()
    except (OSError, TimeoutError) as exc:
        sample.failure = sample.failure or f"{type(exc).__name__}: {exc}"


async def _all(order: Order) -> list[Sample]:
    loop = asyncio.get_running_loop()
    begin = loop.time() + (order.begin_at - time.time() if order.begin_at else START_SECONDS)
    samples = [Sample(order.first + place, place / order.per_second) for place in range(order.count)]
    async with asyncio.TaskGroup() as group:
        for sample in samples:
            due = begin + sample.due_s
            await asyncio.sleep(max(0.0, due - loop.time()))
            group.create_task(_ask(order, sample, due))
    return samples


if __name__ == "__main__":
    descriptors.allow_many()
    with open(sys.argv[1]) as file:
        asked = uvloop.run(_all(Order(**json.load(file))))
    with open(sys.argv[2], "w") as file:
        file.writelines(json.dumps(asdict(sample)) + "\n" for sample in asked)
