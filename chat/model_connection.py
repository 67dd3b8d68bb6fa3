"""HTTP/1.1 to a language model: a request, then its answer's bytes as they come, over connections that are kept.

It exists because a general client costs more than all else in an answer: reading 150 pieces of text takes 65 ms of
CPU with the OpenAI SDK, 14 with httpx, 7 with aiohttp, 2 here (docs/adr/0001-worker-processes.md). What comes is parsed
where it arrives and waits in a buffer; nobody is woken for each piece.
"""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import cast
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

import httptools

KEPT_IDLE_SECONDS = 4.0  # below the 5 s after which common servers close an idle connection
DRAIN_SECONDS = 1.0  # for the last bytes of an answer whose end is known
BUFFER_MAX_BYTES = 1_000_000


class ConnectionLostError(Exception):
    """The server left, or what it says is not HTTP, before its answer began."""


@dataclass(frozen=True)
class Address:
    """Where a model is served; ``path`` with the query goes into each request."""

    host: str
    port: int
    is_tls: bool
    path: str

    @classmethod
    def of(cls, base_url: str, path: str) -> "Address":
        """Return the address of a path below the base URL.

        Raises:
            ValueError: if the base URL is no http or https URL.
        """
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("not an http or https URL")
        is_tls = parts.scheme == "https"
        query = f"?{parts.query}" if parts.query else ""
        return cls(parts.hostname, parts.port or (443 if is_tls else 80), is_tls, parts.path.rstrip("/") + path + query)

    @property
    def host_header(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.is_tls else 80) else f"{host}:{self.port}"


class Connection(asyncio.Protocol):
    """One connection, one request at a time. ``on_news`` is called when bytes, an end or a loss came."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.on_news: Callable[[], None] = lambda: None
        self.is_lost = False
        self._is_paused = False
        self._begin()

    def _begin(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []
        self._held = 0
        self.headers: dict[bytes, bytes] = {}
        self.status = 0
        self.has_headers = self.is_complete = self._is_left = self._may_be_kept = False

    def send(self, headers: dict[str, str], body: bytes) -> None:
        """Send a POST; its answer begins in `status`, `headers` and `take`."""
        self._begin()
        lines = {"Host": self.address.host_header, **headers, "Content-Length": str(len(body))}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self._transport.write(f"POST {self.address.path} HTTP/1.1\r\n{head}\r\n".encode() + body)

    @property
    def is_over(self) -> bool:
        """Whether no more bytes will come; what came may still wait in the buffer."""
        return self.is_complete or self.is_lost

    @property
    def has_news(self) -> bool:
        return bool(self._body) or self.is_over

    def take(self) -> bytes:
        """Return the bytes of the body that came since the last call."""
        taken = b"".join(self._body)
        self._body.clear()
        self._held = 0
        self.resume()
        return taken

    def rest(self) -> None:
        """Read nothing until `resume`: what comes waits in the kernel, and one reading takes it all."""
        if not self._is_paused and not self.is_over:
            self._is_paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        if self._is_paused and not self.is_lost and self._held <= BUFFER_MAX_BYTES:
            self._is_paused = False
            self._transport.resume_reading()

    def close(self) -> None:
        self._transport.abort()

    def leave(self) -> None:
        """Keep the connection for the next request once the answer is complete; close it if that takes long."""
        self._is_left = True
        self.on_news = lambda: None
        self.resume()
        if self.is_complete:
            self._keep()
        elif not self.is_lost:
            asyncio.get_running_loop().call_later(DRAIN_SECONDS, self._close_if_left, self._parser)

    def _close_if_left(self, parser: httptools.HttpResponseParser) -> None:
        if self._is_left and self._parser is parser and not self.is_complete:
            self.close()

    def _keep(self) -> None:
        if self.is_lost or not self._may_be_kept:
            self._transport.abort()
            return
        _idle().setdefault(self.address, []).append(self)
        asyncio.get_running_loop().call_later(KEPT_IDLE_SECONDS, self._close_if_idle, self._parser)

    def _close_if_idle(self, parser: httptools.HttpResponseParser) -> None:
        kept = _idle().get(self.address, [])
        if self._parser is parser and self in kept:
            kept.remove(self)
            self.close()

    # --- asyncio.Protocol ---
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but name

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.is_lost = True
            self._transport.abort()
        self.on_news()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True
        self.on_news()

    # --- httptools ---
    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        self._may_be_kept = self._parser.should_keep_alive()  # asked after its end, the parser has forgotten
        self.has_headers = True

    def on_body(self, body: bytes) -> None:
        if self._is_left:
            return
        self._body.append(body)
        self._held += len(body)
        if self._held > BUFFER_MAX_BYTES:
            self.rest()

    def on_message_complete(self) -> None:
        if self.status < 200:  # noqa: PLR2004 -- "100 Continue" and the like come before the answer
            self.has_headers = False
            return
        self.is_complete = True
        if self._is_left:
            self._keep()


_kept: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Address, list[Connection]]] = WeakKeyDictionary()


def _idle() -> dict[Address, list[Connection]]:
    return _kept.setdefault(asyncio.get_running_loop(), {})


def take_kept(address: Address) -> Connection | None:
    """Return a connection that an earlier answer has left, if one is still open."""
    kept = _idle().get(address, [])
    while kept:
        connection = kept.pop()  # the youngest
        if not connection.is_lost:
            return connection
    return None


async def connect(address: Address, *, seconds: float) -> Connection:
    """Open a connection.

    Raises:
        OSError: if the server cannot be reached, in time or with trust; TimeoutError and ssl.SSLError are such.
    """
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(seconds):
        _transport, connection = await loop.create_connection(
            lambda: Connection(address), address.host, address.port, ssl=_ssl_context() if address.is_tls else None
        )
    return connection


@cache
def _ssl_context() -> ssl.SSLContext:
    """Return the system's trust, loaded once: loading it takes longer than asking."""
    return ssl.create_default_context()
