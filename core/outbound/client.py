"""Fetch a URL that a stranger named.

Built on httpcore2, below httpx2: the connection is made by our own backend from our own reading of the URL, so
neither a second URL parser, nor a proxy from the environment, nor a kept-alive connection takes part.
"""

import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from http import HTTPStatus
from urllib.parse import urljoin

import httpcore2
from django.conf import settings

from core.outbound.bodies import read_body
from core.outbound.errors import (
    BadResponseError,
    CertificateError,
    FetchTimeoutError,
    InvalidURLError,
    TooLargeError,
    TooManyRedirectsError,
    UnreachableError,
)
from core.outbound.network import Budget, GuardedBackend
from core.outbound.targets import Target, parse_target

REDIRECTS = {301, 302, 303, 307, 308}
BODILESS = {204, 304}
HEADERS_MAX_BYTES = 128 * 1024
_SAFE_HEADERS = {"user-agent", "accept", "accept-language"}  # all that may follow a redirect to another origin
_OWN_HEADERS = {"host", "connection", "accept-encoding", "content-length", "transfer-encoding"}


@dataclass(frozen=True)
class Fetched:
    """An answer, whatever its status. ``headers`` has lower-case names; ``redirects`` holds the URLs left behind."""

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes
    redirects: tuple[str, ...] = ()
    is_truncated: bool = False

    @property
    def redirect_url(self) -> str | None:
        """Where the answer sends us, as an absolute URL not yet checked; None if it does not."""
        location = self.headers.get("location", "").strip()
        if self.status not in REDIRECTS or not location:
            return None
        return urljoin(self.url, location.replace(" ", "%20"))


@dataclass(frozen=True)
class _Request:
    method: str
    headers: Mapping[str, str]
    body: bytes | None
    max_bytes: int
    truncate: bool


def fetch(
    url: str,
    *,
    max_bytes: int,
    headers: Mapping[str, str] | None = None,
    method: str = "GET",
    body: bytes | None = None,
    max_redirects: int | None = None,
    timeout_seconds: float | None = None,
    truncate: bool = False,
) -> Fetched:
    """Request the URL and follow redirects, checking the address of every hop.

    The body is at most ``max_bytes`` long after unpacking; a longer one is an error, or is cut if ``truncate``.
    Time is bounded over the whole fetch. A redirect to another origin carries no header but the harmless ones and
    never a body; with ``max_redirects=0`` the redirect itself is returned.

    Raises:
        OutboundError: its subclasses say what went wrong in words fit for a tenant.
    """
    budget = Budget(
        seconds=timeout_seconds or settings.OUTBOUND_TOTAL_TIMEOUT_SECONDS, wire_bytes=max_bytes + HEADERS_MAX_BYTES
    )
    limit = settings.OUTBOUND_MAX_REDIRECTS if max_redirects is None else max_redirects
    lowered = {name.lower(): value for name, value in (headers or {}).items()}
    request = _Request(method, lowered, body, max_bytes, truncate)
    target = parse_target(url)
    left: list[str] = []
    while True:
        fetched = _request_once(target, request, budget, tuple(left))
        goal = fetched.redirect_url
        if goal is None or limit == 0:
            return fetched
        if len(left) == limit:
            raise TooManyRedirectsError(f"The site redirects more than {limit} times.")
        left.append(target.url)
        previous, target = target, parse_target(goal)
        request = _redirected(request, fetched.status, is_same_origin=previous.origin == target.origin)


def _redirected(request: _Request, status: int, *, is_same_origin: bool) -> _Request:
    method, body, headers = request.method, request.body, request.headers
    becomes_get = status == HTTPStatus.SEE_OTHER or (status < HTTPStatus.SEE_OTHER and method == "POST")
    if becomes_get and method != "HEAD":
        method, body = "GET", None
        headers = {name: value for name, value in headers.items() if not name.startswith("content-")}
    if is_same_origin:
        return replace(request, method=method, headers=headers, body=body)
    if body is not None:
        raise BadResponseError("The site redirects data sent to it to another address.")
    harmless = {name: value for name, value in headers.items() if name in _SAFE_HEADERS}
    return replace(request, method=method, headers=harmless, body=None)


def _request_once(target: Target, request: _Request, budget: Budget, left: tuple[str, ...]) -> Fetched:
    with (
        _named_errors(),
        httpcore2.ConnectionPool(
            ssl_context=_ssl_context() if target.scheme == "https" else None,
            network_backend=GuardedBackend(target, budget),
        ) as pool,
        pool.stream(
            request.method,
            httpcore2.URL(
                scheme=target.scheme.encode(),
                host=target.host.encode(),
                port=target.port,
                target=target.path.encode(),
            ),
            headers=_headers(target, request),
            content=request.body,
            extensions={"timeout": {"read": settings.OUTBOUND_READ_TIMEOUT_SECONDS}},
        ) as response,
    ):
        received = _received_headers(response.headers)
        body, is_truncated = b"", False
        if request.method != "HEAD" and response.status not in BODILESS | REDIRECTS:
            if not request.truncate:
                _refuse_announced_size(received, request.max_bytes)
            body, is_truncated = read_body(
                response.iter_stream(),
                encoding=received.get("content-encoding", ""),
                max_bytes=request.max_bytes,
                truncate=request.truncate,
            )
        return Fetched(target.url, response.status, received, body, left, is_truncated)


def _headers(target: Target, request: _Request) -> list[tuple[bytes, bytes]]:
    wanted = {"user-agent": settings.CRAWL_USER_AGENT, "accept": "*/*"} | dict(request.headers)
    wanted = {name: value for name, value in wanted.items() if name not in _OWN_HEADERS}
    own = {"host": target.authority, "accept-encoding": "gzip", "connection": "close"}
    if request.body is not None:
        own["content-length"] = str(len(request.body))
    return [(name.encode("ascii"), value.encode("latin-1")) for name, value in (own | wanted).items()]


def _received_headers(raw: list[tuple[bytes, bytes]]) -> dict[str, str]:
    """Decode headers as UTF-8 where they are, else Latin-1; repeated ones are joined by commas."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in raw:
        name = raw_name.decode("latin-1").lower()
        try:
            value = raw_value.decode("utf-8")
        except UnicodeDecodeError:
            value = raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _refuse_announced_size(headers: Mapping[str, str], max_bytes: int) -> None:
    length = headers.get("content-length", "")
    if length.isascii() and length.isdigit() and int(length) > max_bytes:
        raise TooLargeError("The answer is larger than allowed.")


@cache
def _ssl_context() -> ssl.SSLContext:
    """Trust the system's certificates (``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` name others)."""
    return httpcore2.default_ssl_context()


@contextmanager
def _named_errors() -> Iterator[None]:
    try:
        yield
    except ssl.SSLCertVerificationError as exc:
        raise CertificateError("The site's certificate is not valid.") from exc
    except (TimeoutError, httpcore2.TimeoutException) as exc:
        raise FetchTimeoutError("The site took too long to answer.") from exc
    except (httpcore2.LocalProtocolError, UnicodeEncodeError) as exc:
        raise InvalidURLError("The request cannot be sent in this form.") from exc
    except (httpcore2.ProtocolError, ssl.SSLError) as exc:
        raise BadResponseError("The site's answer is not valid HTTP.") from exc
    except (OSError, httpcore2.NetworkError) as exc:
        raise UnreachableError("The connection to the site broke.") from exc
