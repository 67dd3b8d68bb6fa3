"""One website of many pages from one server: ``uvicorn bench.large_site:application``.

``BENCH_FOLDERS`` names folders of real HTML pages, separated by colons; each is served below a path of its own name.
Without it the pages are made up: ``BENCH_PAGES`` of them, with a menu, sections, a table, code and a footer.
"""

import html
import os
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from bench import words

PAGES = int(os.environ.get("BENCH_PAGES", "1000"))
FOLDERS = [Path(name) for name in os.environ.get("BENCH_FOLDERS", "").split(":") if name]
LINKS = 40  # of a made-up page's menu
_FROM_ROOT = re.compile(rb"""((?:href|src)=["']?|url=)/(?!/)""")

Send = Callable[[dict[str, Any]], Awaitable[None]]


def load() -> dict[str, bytes]:
    """Return the body of every path."""
    pages = {"/robots.txt": b"User-agent: *\nDisallow: /private/\n"}
    for folder in FOLDERS:
        pages |= _folder_pages(folder)
    if not FOLDERS:
        pages |= {f"/page/{number}": _made_up(number) for number in range(PAGES)}
    starts = [f"/{folder.name}/" for folder in FOLDERS] or ["/page/0"]
    pages["/"] = ("<title>Start</title>" + "".join(f'<p><a href="{start}">{start}</a>' for start in starts)).encode()
    return pages


def _folder_pages(folder: Path) -> dict[str, bytes]:
    prefix = f"/{folder.name}/"
    pages = {}
    for file in sorted(folder.rglob("*.html")):
        body = _FROM_ROOT.sub(rb"\g<1>" + prefix.encode(), file.read_bytes())
        path = prefix + file.relative_to(folder).as_posix()
        pages[path] = body
        pages[path.removesuffix(".html")] = body
        if file.name == "index.html":
            pages[path.removesuffix("index.html")] = body
    return pages


def _made_up(number: int) -> bytes:
    """Render a page of about 20 KB; every page is reached through the menus of others."""
    menu = "".join(
        f'<li class="item"><a href="/page/{(number * LINKS + link) % PAGES}">{words.title(link)}</a></li>'
        for link in range(1, LINKS + 1)
    )
    sections = "".join(
        f"<section><h2>{html.escape(words.title(number + part))} {number}.{part}</h2>"
        + "".join(f"<p>{html.escape(block)}</p>" for block in words.markdown(number * 7 + part).split("\n\n")[1:])
        + f"<table><tr><th>Part</th><th>Days</th></tr><tr><td>{number}</td><td>{part}</td></tr></table>"
        + f"<pre><code>order({number}, {part})\n</code></pre></section>"
        for part in range(3)
    )
    return (
        f'<!doctype html><html lang="{words.language(number)}"><head><meta charset="utf-8"><title>'
        f"{html.escape(words.title(number))} {number}</title></head><body><nav><ul>{menu}</ul></nav>"
        f"<main><h1>{html.escape(words.title(number))}</h1>{sections}</main>"
        f"<footer>All rights reserved</footer></body></html>"
    ).encode()


_pages = load()


async def application(scope: dict[str, Any], receive: Callable[[], Awaitable[dict[str, Any]]], send: Send) -> None:
    """Serve what was loaded."""
    if scope["type"] != "http":
        return
    path = unquote(scope["path"])
    body, headers = _pages.get(path), [(b"content-type", _type(path))]
    if body is None and f"{path}/" in _pages:
        await _reply(send, 301, [*headers, (b"location", f"{scope['raw_path'].decode()}/".encode())], b"")
    else:
        await _reply(send, 404 if body is None else 200, headers, body or b"")


def _type(path: str) -> bytes:
    return b"text/plain" if path.endswith(".txt") else b"text/html; charset=utf-8"


async def _reply(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})
