import ast
import gzip
import socket
import ssl
import threading
import tracemalloc
import zlib
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from core import outbound
from core.outbound import network
from tests.site import Answer, running_site

BASE_DIR = Path(__file__).resolve().parent.parent.parent
PUBLIC_ADDRESS = "93.184.216.34"


@pytest.fixture
def site(settings):
    with running_site() as running:
        settings.OUTBOUND_ALLOWED_HOSTS = [running.host_port]
        settings.OUTBOUND_TOTAL_TIMEOUT_SECONDS = 3
        yield running


@pytest.fixture
def names(monkeypatch):
    """A resolver that answers what the test wrote: name → list of answers, each a list of addresses."""
    answers: dict[str, list[list[str]]] = {}

    def getaddrinfo(host, port, *_args, **_kwargs):
        if host not in answers:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        turn = answers[host].pop(0) if len(answers[host]) > 1 else answers[host][0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in turn]

    monkeypatch.setattr(network.socket, "getaddrinfo", getaddrinfo)
    return answers


@pytest.fixture
def dialled(monkeypatch, site):
    """Every address that was dialled; all of them lead to the test's own site."""
    addresses: list[str] = []
    really_dial = network.dial
    port = int(site.url.rpartition(":")[2])

    def dial(address, _port, timeout):
        addresses.append(str(address))
        return really_dial(network.ipaddress.ip_address("127.0.0.1"), port, timeout)

    monkeypatch.setattr(network, "dial", dial)
    return addresses


def fetch(url, **options):
    return outbound.fetch(url, **({"max_bytes": 100_000} | options))


def raw(data: bytes, *, then=None) -> Answer:
    """Answer with these bytes on the wire."""

    def send(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(data)
        if then is not None:
            then(handler)

    return Answer(send=send)


def test_a_page_is_fetched_with_its_headers(site):
    site.add_page("/راهنما", "<p>سلام</p>")

    fetched = fetch(f"{site.url}/راهنما")

    assert (fetched.status, fetched.url) == (200, f"{site.url}/%D8%B1%D8%A7%D9%87%D9%86%D9%85%D8%A7")
    assert "سلام" in fetched.body.decode()
    assert fetched.headers["content-type"] == "text/html; charset=utf-8"
    _method, _path, headers = site.requests[0]
    assert headers["accept-encoding"] == "gzip"
    assert "authorization" not in headers


def test_the_dialled_address_is_the_one_that_was_checked_whatever_the_name_says_next(names, dialled):
    for _round in range(100):
        names["rebind.test"] = [[PUBLIC_ADDRESS], ["127.0.0.1"]]
        fetch("http://rebind.test/")

    assert set(dialled) == {PUBLIC_ADDRESS}


@pytest.mark.parametrize("addresses", [["127.0.0.1"], [PUBLIC_ADDRESS, "127.0.0.1"], ["169.254.169.254"], []])
def test_a_name_with_any_inner_address_is_not_dialled_and_looks_like_an_unknown_one(names, dialled, addresses):
    names["inner.test"] = [addresses]
    with pytest.raises(outbound.UnreachableError) as inner:
        fetch("http://inner.test/")
    with pytest.raises(outbound.UnreachableError) as unknown:
        fetch("http://unknown.test/")

    assert dialled == []
    assert (str(inner.value), inner.value.code) == (str(unknown.value), unknown.value.code)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest/",
        "//127.0.0.1/",
        "/\\127.0.0.1/",
        "http://2130706433/",
        "http://[::ffff:127.0.0.1]/",
        "file:///etc/passwd",
        "gopher://127.0.0.1:6379/_",
        "http://inner.test/",
    ],
)
def test_a_redirect_to_the_inside_is_not_followed(site, names, dialled, status, location):
    names["public.test"] = [[PUBLIC_ADDRESS]]
    names["inner.test"] = [["10.0.0.1"]]
    site.routes["/"] = Answer(status=status, headers={"Location": location})

    with pytest.raises(outbound.OutboundError):
        fetch("http://public.test/")

    assert dialled == [PUBLIC_ADDRESS]


def test_redirects_end_at_the_limit(site):
    site.routes["/"] = Answer(status=302, headers={"Location": "/"})

    with pytest.raises(outbound.TooManyRedirectsError):
        fetch(site.url, max_redirects=3)

    assert len(site.requests) == 4


def test_a_redirect_with_a_raw_persian_path_is_followed(site):
    site.routes["/"] = raw("HTTP/1.1 302 Found\r\nLocation: /راه نما\r\nContent-Length: 0\r\n\r\n".encode())
    site.add_page("/راه نما", "<p>رسید</p>")

    fetched = fetch(site.url)

    assert "رسید" in fetched.body.decode()
    assert fetched.redirects == (f"{site.url}/",)


def test_without_redirects_the_redirect_itself_is_returned(site):
    site.routes["/"] = Answer(status=301, headers={"Location": "/next?a=1"})

    assert fetch(site.url, max_redirects=0).redirect_url == f"{site.url}/next?a=1"


def test_no_header_of_ours_follows_to_another_origin(site, names, dialled):
    names["one.test"] = names["two.test"] = [[PUBLIC_ADDRESS]]
    site.routes["/"] = Answer(status=302, headers={"Location": "http://two.test/next", "Set-Cookie": "a=b"})

    fetch("http://one.test/", headers={"Authorization": "Bearer x", "If-None-Match": '"1"', "User-Agent": "Test"})

    (_get, _path, first), (_get, _path, second) = site.requests
    assert first["authorization"] == "Bearer x"
    assert (second["host"], second["user-agent"]) == ("two.test", "Test")
    assert not {"authorization", "if-none-match", "cookie"} & set(second)


def test_a_body_is_sent_and_not_carried_to_another_origin(site, names, dialled):
    names["one.test"] = names["two.test"] = [[PUBLIC_ADDRESS]]
    site.routes["/"] = Answer(status=307, headers={"Location": "http://two.test/next"})

    with pytest.raises(outbound.BadResponseError):
        fetch("http://one.test/", method="POST", body=b"{}", headers={"Content-Type": "application/json"})

    assert [(method, headers["content-length"]) for method, _path, headers in site.requests] == [("POST", "2")]


def test_proxies_of_the_environment_are_ignored(site, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    site.add_page("/", "<p>here</p>")

    assert fetch(site.url).status == 200


@pytest.mark.parametrize(
    "encoding",
    ["br", "zstd", "deflate", "gzip, gzip", "gzip;q=1", "compress"],
)
def test_an_encoding_that_was_not_asked_for_is_refused(site, encoding):
    site.routes["/"] = Answer(gzip.compress(b"x"), headers={"Content-Encoding": encoding})

    with pytest.raises(outbound.BadResponseError):
        fetch(site.url)


def test_gzip_of_several_members_is_unpacked(site):
    site.routes["/"] = Answer(gzip.compress(b"one ") + gzip.compress(b"two"), headers={"Content-Encoding": "gzip"})

    assert fetch(site.url).body == b"one two"


@pytest.mark.parametrize("body", [b"plain text", gzip.compress(b"x" * 1000)[:-20]], ids=["plain", "cut"])
def test_damaged_gzip_is_an_error_with_a_name(site, body):
    site.routes["/"] = Answer(body, headers={"Content-Encoding": "gzip"})

    with pytest.raises(outbound.BadResponseError):
        fetch(site.url)


def test_a_gzip_bomb_is_stopped_in_bounded_memory(site):
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = b"".join(packer.compress(bytes(1_000_000)) for _megabyte in range(128)) + packer.flush()
    site.routes["/"] = Answer(bomb, headers={"Content-Encoding": "gzip"})
    tracemalloc.start()

    with pytest.raises(outbound.TooLargeError):
        fetch(site.url, max_bytes=5_000_000)

    _size, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16 * 2**20


def test_an_announced_size_is_refused_before_the_body(site):
    site.routes["/"] = raw(b"HTTP/1.1 200 OK\r\nContent-Length: 209715200\r\n\r\n")

    with pytest.raises(outbound.TooLargeError):
        fetch(site.url)


def test_an_endless_body_is_stopped_or_cut(site):
    def forever(handler):
        while True:
            handler.wfile.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")

    site.routes["/"] = raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", then=forever)

    with pytest.raises(outbound.TooLargeError):
        fetch(site.url)
    fetched = fetch(site.url, truncate=True)
    assert (len(fetched.body), fetched.is_truncated) == (100_000, True)


@pytest.mark.parametrize(
    "start",
    [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"],
    ids=["silence", "headers", "body"],
)
def test_time_is_bounded_over_the_whole_fetch_however_slowly_bytes_drip(site, start):
    stopped = threading.Event()

    def drip(handler):
        while not stopped.wait(0.05):
            handler.wfile.write(b"x")
            handler.wfile.flush()

    site.routes["/"] = raw(start, then=drip)

    with pytest.raises((outbound.FetchTimeoutError, outbound.BadResponseError)):
        fetch(site.url, timeout_seconds=0.5)
    stopped.set()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"hello\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 200_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * 30_000 + b"\r\n",
    ],
)
def test_an_answer_that_is_not_http_is_an_error_with_a_name(site, answer):
    site.routes["/"] = raw(answer)

    with pytest.raises((outbound.BadResponseError, outbound.TooLargeError)):
        fetch(site.url)


def test_a_closed_port_is_unreachable(site, settings):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    settings.OUTBOUND_ALLOWED_HOSTS = [url.removeprefix("http://")]

    with pytest.raises(outbound.UnreachableError):
        fetch(url)


def test_plain_http_where_tls_is_expected_is_an_error_with_a_name(site):
    with pytest.raises(outbound.OutboundError):
        fetch(site.url.replace("http:", "https:"))


def test_certificates_and_names_are_verified():
    from core.outbound.client import _ssl_context

    assert _ssl_context().verify_mode == ssl.CERT_REQUIRED
    assert _ssl_context().check_hostname
    assert _ssl_context().minimum_version >= ssl.TLSVersion.TLSv1_2


# An HTTP client imported anywhere else would go around the guard.
CLIENTS = {
    "httpx",
    "httpx2",
    "httpcore",
    "httpcore2",
    "requests",
    "aiohttp",
    "urllib3",
    "http.client",
    "urllib.request",
    "playwright",
}
ALLOWED = {
    "knowledge/embedding_endpoint.py": "the operator's own model server",
    "crawl/rendering/child.py": "has no network (tests/crawl/test_rendering_bounds.py)",
    "core/doctor.py": "asks this machine's own processes",
}
OWN_PROCESSES = ("core/up/", "core/health/", "core/embedded/")  # what script/up starts, asked on loopback


def test_no_other_module_imports_an_http_client():
    offenders = []
    for path in BASE_DIR.glob("*/**/*.py"):
        name = path.relative_to(BASE_DIR).as_posix()
        if name.startswith((".", "tests/", "bench/", "var/", "core/outbound/", *OWN_PROCESSES)) or name in ALLOWED:
            continue
        offenders += [f"{name}: {module}" for module in _imported(path) if _is_client(module)]

    assert offenders == []


def _imported(path: Path) -> list[str]:
    modules = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return modules


def _is_client(module: str) -> bool:
    return any(module == client or module.startswith(f"{client}.") for client in CLIENTS)
