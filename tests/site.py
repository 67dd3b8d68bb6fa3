"""A website on loopback, served over real HTTP, for tests and benchmarks.

``with running_site(pages=50) as site:`` serves a tree of English and Persian pages with robots.txt, a sitemap and
ETags; ``site.routes[path]`` replaces or adds single answers, ``site.requests`` lists what was asked.
"""

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler
from urllib.parse import quote, unquote

from tests.serving import serving

ENGLISH = (
    "The {name} of the workshop has number {number}. It is described here in a few sentences so that there is enough "
    "text to be found again. Orders of the {name} are delivered within {days} days, and every part of it carries a "
    "warranty of {number} months. Whoever needs another size writes to the workshop and gets an offer."
)
PERSIAN = (
    "محصول شمارهٔ {number} کارگاه «{name}» نام دارد. این صفحه آن را در چند جمله توضیح می‌دهد تا متن کافی برای جست‌وجو "
    "داشته باشد. سفارش‌ها در {days} روز تحویل داده می‌شوند و همهٔ قطعه‌ها {number} ماه ضمانت دارند. اگر اندازهٔ دیگری "
    "می‌خواهید، به کارگاه بنویسید تا پیشنهاد قیمت بگیرید."
)
_WELL_KNOWN = {"/robots.txt", "/sitemap.xml"}
BRANCHES = 10  # children of a page in the tree


@dataclass
class Answer:
    """What a path answers, after so many seconds; ``send`` takes over the whole response if given."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    send: Callable[[BaseHTTPRequestHandler], None] | None = None
    seconds: float = 0.0


@dataclass
class Site:
    url: str  # without a slash at the end
    routes: dict[str, Answer] = field(default_factory=dict)
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)  # method, path, headers
    in_flight_max: int = 0
    fallback: Answer | None = None  # what is answered where there is no route; 404 if not given

    @property
    def host_port(self) -> str:
        return self.url.removeprefix("http://")

    def paths(self) -> list[str]:
        """Return the paths asked for so far, decoded, in order."""
        return [unquote(path) for _method, path, _headers in self.requests]

    def answer_after(self, seconds: float) -> None:
        """Let each path that is there take so long, so that requests made at the same time meet."""
        for path, answer in self.routes.items():
            self.routes[path] = replace(answer, seconds=seconds)

    def add_page(
        self, path: str, body: str, *, title: str = "", lang: str = "en", head: str = "", **headers: str
    ) -> None:
        """Serve an HTML page at a (decoded) path."""
        text = (
            f'<!doctype html><html lang="{lang}"><head><meta charset="utf-8"><title>{title or path}</title>{head}'
            f"</head><body><main>{body}</main></body></html>"
        )
        self.routes[path] = html(text, **headers)


def html(text: str, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(text.encode(), headers={"Content-Type": "text/html; charset=utf-8"} | named)


@contextmanager
def running_site(pages: int = 0, *, host: str = "127.0.0.1") -> Iterator[Site]:
    """Serve a site until the block ends; with ``pages`` a tree of that many, every third one Persian."""
    with serving(_Handler, host=host) as server:
        site = Site(f"http://{host}:{server.server_port}")
        server.site = site  # type: ignore[attr-defined]
        server.lock = threading.Lock()  # type: ignore[attr-defined]
        server.in_flight = 0  # type: ignore[attr-defined]
        if pages:
            add_tree(site, pages)
        yield site


def page_path(number: int) -> str:
    if number == 0:
        return "/"
    return f"/محصول/{number}/" if number % 3 == 0 else f"/product/{number}/"


def add_tree(site: Site, pages: int) -> None:
    """Add ``pages`` pages below "/", each linking to up to ten more, with robots.txt and sitemap.xml."""
    for number in range(pages):
        children = range(number * BRANCHES + 1, min(number * BRANCHES + BRANCHES, pages - 1) + 1)
        links = "".join(f'<li><a href="{quote(page_path(child))}">{child}</a></li>' for child in children)
        is_persian = number % 3 == 0 and number > 0
        text = (PERSIAN if is_persian else ENGLISH).format(name=f"lamp {number}", number=number, days=number % 9 + 2)
        title = f"محصول {number}" if is_persian else f"Product {number}"
        body = f"<h1>{title}</h1><p>{text}</p><h2>More</h2><p>{text[::-1][:40]}</p><nav><ul>{links}</ul></nav>"
        site.add_page(page_path(number), body, title=title, lang="fa" if is_persian else "en")
    locations = "".join(f"<url><loc>{site.url}{quote(page_path(number))}</loc></url>" for number in range(pages))
    site.routes["/sitemap.xml"] = Answer(
        f'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{locations}</urlset>'.encode(),
        headers={"Content-Type": "application/xml"},
    )
    site.routes["/robots.txt"] = Answer(
        f"User-agent: *\nDisallow: /private/\nSitemap: {site.url}/sitemap.xml\n".encode(),
        headers={"Content-Type": "text/plain"},
    )


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_args: object) -> None:
        pass

    def do_GET(self) -> None:
        try:
            self._answer()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def do_POST(self) -> None:
        self.received = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.do_GET()

    def do_HEAD(self) -> None:
        self.do_GET()

    def _count(self, change: int) -> None:
        with self.server.lock:
            self.server.in_flight += change
            site = self.server.site
            site.in_flight_max = max(site.in_flight_max, self.server.in_flight)

    def _answer(self) -> None:
        self._count(1)
        answer = self._chosen()
        time.sleep(answer.seconds)
        self._count(-1)  # before the first byte: with the last, the client may ask for the next page
        if answer.send is not None:
            answer.send(self)
            self.close_connection = True
        else:
            self._send(answer)

    def _chosen(self) -> Answer:
        site: Site = self.server.site
        site.requests.append((self.command, self.path, {name.lower(): value for name, value in self.headers.items()}))
        answer = site.routes.get(unquote(self.path)) or site.routes.get(unquote(self.path.partition("?")[0]))
        if answer is None:
            answer = site.fallback if site.fallback and self.path not in _WELL_KNOWN else None
        return answer or Answer(b"<h1>Not found</h1>", 404, {"Content-Type": "text/html"})

    def _send(self, answer: Answer) -> None:
        etag = f'"{hashlib.sha256(answer.body).hexdigest()[:16]}"'
        is_known = answer.status == 200 and self.headers.get("If-None-Match") == etag
        body = b"" if is_known else answer.body
        self.send_response(304 if is_known else answer.status)
        for name, value in ({"ETag": etag} | answer.headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
