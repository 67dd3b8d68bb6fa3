"""A receiver of webhooks: a real HTTP server on loopback whose answers a test decides."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

from tests.serving import serving


@dataclass
class Received:
    path: str
    headers: dict[str, str]
    body: str


@dataclass
class Reply:
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass
class Receiver:
    """Keeps what arrived; ``answer`` decides what is said to it, and may wait for ``released``."""

    url: str = ""
    requests: list[Received] = field(default_factory=list)
    answer: Callable[[Received], Reply] = lambda request: Reply()
    released: threading.Event = field(default_factory=threading.Event)
    arrived: threading.Event = field(default_factory=threading.Event)

    @property
    def ids(self) -> list[str]:
        return [request.headers["webhook-id"] for request in self.requests]


def _handler(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Received(self.path, headers, self.rfile.read(length).decode())
            receiver.requests.append(request)
            receiver.arrived.set()
            reply = receiver.answer(request)
            self.send_response(reply.status)
            for name, value in {"Content-Length": str(len(reply.body)), **reply.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(reply.body)

        def log_message(self, *args: object) -> None:
            pass

    return Handler


@contextmanager
def receiving(receiver: Receiver) -> Iterator[str]:
    """Serve until the block ends; yields the host and port."""
    with serving(_handler(receiver)) as server:
        host_port = f"127.0.0.1:{server.server_port}"
        receiver.url = f"http://{host_port}/hooks"
        try:
            yield host_port
        finally:
            receiver.released.set()
