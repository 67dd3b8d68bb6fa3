"""A model server that only keeps time and hardly costs any: ``python -m bench.model_server PORT SLOW_SECONDS``.

It speaks the OpenAI streaming protocol: the first chunk after 0.3 s, then 20 a second for 5 to 10 s. How long depends
on nothing but the number of requests before. A question that says `SLOWLY` is answered with a chunk a second.
One process, bytes made beforehand: 1,000 answers at once must not take the CPU from what is measured.
"""

import asyncio
import json
import sys
from itertools import count

import uvloop

from bench import descriptors

FIRST_CHUNK_SECONDS = 0.3
CHUNK_SECONDS = 0.05
CHUNKS_MIN, CHUNKS_MAX = 94, 194  # 5 to 10 seconds
SLOW_CHUNK_SECONDS = 1.0
SLOWLY = "slowly"
MODEL = "stub"
_STEP = 37  # has no divisor in common with the number of lengths, so every length comes as often

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


def _chunk(text: str, finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": text} if text else {}, "finish_reason": finish_reason}
    body = {"id": "x", "object": "chat.completion.chunk", "created": 0, "model": MODEL, "choices": [choice]}
    return _framed(f"data: {json.dumps(body)}\n\n".encode())


def _framed(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


_WORDS = [_chunk(f"word{number} ") for number in range(CHUNKS_MAX)]
_END = _chunk("So says the page [1].") + _chunk("", "stop") + _framed(b"data: [DONE]\n\n") + b"0\r\n\r\n"


class Model(asyncio.Protocol):
    """One connection; it may be used for one answer after the other."""

    answers = count()
    slow_chunks = 60

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._received = b""
        self._timer: asyncio.TimerHandle | None = None

    def connection_lost(self, _exc: Exception | None) -> None:
        if self._timer:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end or len(body) < _content_length(head):
            return
        self._received = b""
        if b"/chat/completions " not in head.partition(b"\r\n")[0]:
            self._transport.write(_NOT_FOUND)
            return
        self._begin(is_slow=SLOWLY.encode() in body)

    def _begin(self, *, is_slow: bool) -> None:
        lengths = CHUNKS_MAX - CHUNKS_MIN + 1
        self._length = self.slow_chunks if is_slow else CHUNKS_MIN + next(self.answers) * _STEP % lengths
        self._gap = SLOW_CHUNK_SECONDS if is_slow else CHUNK_SECONDS
        self._sent = 0
        self._loop = asyncio.get_running_loop()
        self._begun = self._loop.time() + FIRST_CHUNK_SECONDS
        self._transport.write(_HEAD)
        self._timer = self._loop.call_at(self._begun, self._send)

    def _send(self) -> None:
        if self._sent == self._length:
            self._transport.write(_END)
            return
        self._transport.write(_WORDS[self._sent])
        self._sent += 1
        self._timer = self._loop.call_at(self._begun + self._sent * self._gap, self._send)


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Model, "127.0.0.1", port, backlog=2048)
    await server.serve_forever()


if __name__ == "__main__":
    descriptors.allow_many()
    Model.slow_chunks = int(sys.argv[2])
    uvloop.run(_serve(int(sys.argv[1])))
