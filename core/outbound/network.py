"""Sockets that go only where the guard looked, and not for longer or for more bytes than agreed."""

import ipaddress
import queue
import socket
import ssl
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import httpcore2
from django.conf import settings

from core.outbound.addresses import Address, is_public
from core.outbound.errors import FetchTimeoutError, TooLargeError, UnreachableError
from core.outbound.targets import Target, is_allowed_by_operator

ADDRESSES_TRIED = 4
NOT_FOUND = "The address does not exist, or is not on the public internet."


@dataclass
class Budget:
    """What one fetch may still take, over all its redirects."""

    seconds: float
    wire_bytes: int
    started: float = field(default_factory=time.monotonic)

    def seconds_left(self, at_most: float | None = None) -> float:
        left = self.started + self.seconds - time.monotonic()
        if left <= 0:
            raise FetchTimeoutError("The site took too long to answer.")
        return left if at_most is None else min(left, at_most)

    def take_bytes(self, count: int) -> None:
        self.wire_bytes -= count
        if self.wire_bytes < 0:
            raise TooLargeError("The answer is larger than allowed.")


class GuardedBackend(httpcore2.NetworkBackend):
    """Resolve once, check every answer, and dial one of the very addresses that were checked."""

    def __init__(self, target: Target, budget: Budget) -> None:
        self._target = target
        self._budget = budget

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        error: OSError | None = None
        for address in checked_addresses(self._target, self._budget)[:ADDRESSES_TRIED]:
            try:
                connected = dial(address, port, self._budget.seconds_left(settings.OUTBOUND_CONNECT_TIMEOUT_SECONDS))
            except OSError as exc:
                error = exc
            else:
                return GuardedStream(connected, self._budget)
        if isinstance(error, TimeoutError):
            raise FetchTimeoutError("The site took too long to answer.") from error
        raise UnreachableError("Nothing answers at this address.") from error


def checked_addresses(target: Target, budget: Budget) -> list[Address]:
    """Resolve the target's host and return its addresses, all of them public unless the operator allowed the host.

    Raises:
        UnreachableError: if there is no address, or a single one that is not public.
    """
    addresses = resolve(target.host, budget.seconds_left(settings.OUTBOUND_CONNECT_TIMEOUT_SECONDS))
    if not addresses:
        raise UnreachableError(NOT_FOUND)
    if not is_allowed_by_operator(target) and not all(is_public(address) for address in addresses):
        raise UnreachableError(NOT_FOUND)
    return addresses


def resolve(host: str, timeout: float) -> list[Address]:
    """Return the addresses of a name, or of an address itself; [] if it has none.

    The lookup cannot be interrupted, so it runs in a thread of its own that is left behind when time is up.
    """
    try:
        return [ipaddress.ip_address(host)]
    except ValueError:
        pass
    answers: queue.SimpleQueue[list[Address]] = queue.SimpleQueue()
    threading.Thread(target=lambda: answers.put(_look_up(host)), name="resolve", daemon=True).start()
    try:
        return answers.get(timeout=timeout)
    except queue.Empty as exc:
        raise FetchTimeoutError("The site's name could not be resolved in time.") from exc


def _look_up(host: str) -> list[Address]:
    try:
        answers = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    texts = dict.fromkeys(str(sockaddr[0]) for *_family, sockaddr in answers)
    return [ipaddress.ip_address(text) for text in texts]


def dial(address: Address, port: int, timeout: float) -> socket.socket:
    """Connect to this address, with nothing left to resolve."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6  # noqa: PLR2004 -- IP version 4
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.connect((str(address), port))
    except BaseException:
        connection.close()
        raise
    return connection


class GuardedStream(httpcore2.NetworkStream):
    """A socket each of whose waits ends with the fetch's budget, however slowly bytes drip in."""

    def __init__(self, connection: socket.socket, budget: Budget) -> None:
        self._connection = connection
        self._budget = budget

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        self._connection.settimeout(self._budget.seconds_left(timeout))
        data = self._connection.recv(max_bytes)
        self._budget.take_bytes(len(data))
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._connection.settimeout(self._budget.seconds_left(timeout))
        self._connection.sendall(buffer)

    def close(self) -> None:
        self._connection.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        self._connection.settimeout(self._budget.seconds_left(settings.OUTBOUND_CONNECT_TIMEOUT_SECONDS))
        try:
            secured = ssl_context.wrap_socket(self._connection, server_hostname=server_hostname)
        except BaseException:
            self.close()
            raise
        return GuardedStream(secured, self._budget)

    def get_extra_info(self, info: str) -> Any:
        return None
