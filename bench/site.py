"""Many small websites from one server, for benchmarks to crawl: ``uvicorn bench.site:application --host 0.0.0.0``.

Each address of 127.0.0.0/8 is a site of its own to the crawler, with its own robots.txt and its own politeness.
Requests that do not come from this machine are refused.
"""

import asyncio
import html
import os
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Address
from typing import Any

from bench import words

MADE_PAGES = 100  # of one site under /made/, which no page links to
PAGES = int(os.environ.get("BENCH_SITE_PAGES", "20"))
LATENCY_SECONDS = float(os.environ.get("BENCH_SITE_LATENCY_SECONDS", "0.2"))
FIRST = int(IPv4Address("127.1.0.1"))

Send = Callable[[dict[str, Any]], Awaitable[None]]


def address(number: int, port: int) -> str:
    """Return ``host:port`` of the site with this number."""
    return f"{IPv4Address(FIRST + number)}:{port}"


async def application(scope: dict[str, Any], receive: Callable[[], Awaitable[dict[str, Any]]], send: Send) -> None:
    """Serve ``/``, ``/robots.txt`` and ``/page/N``."""
    if scope["type"] != "http":
        return
    if not scope["client"][0].startswith("127."):
        await _reply(send, 403, "text/plain", "This machine only.")
        return
    await asyncio.sleep(LATENCY_SECONDS)
    site = int(IPv4Address(scope["server"][0])) - FIRST
    path = scope["path"]
    page = path.removeprefix("/page/")
    if path == "/":
        await _reply(send, 200, "text/html; charset=utf-8", _home(site))
    elif path == "/robots.txt":
        await _reply(send, 200, "text/plain", "User-agent: *\nDisallow: /private/\n")
    elif page.isascii() and page.isdigit() and int(page) < PAGES:
        await _reply(send, 200, "text/html; charset=utf-8", _html(site * PAGES + int(page), words.markdown))
    else:
        await _reply(send, 404, "text/plain", "not found")


def _home(site: int) -> str:
    links = "".join(f'<li><a href="/page/{number}">{number}</a></li>' for number in range(PAGES))
    return f"<!doctype html><title>Site {site}</title><main><h1>Site {site}</h1><ul>{links}</ul></main>"


def markdown(number: int) -> str:
    """Return a page no passage of which is on any other page, so that each has to be embedded."""
    blocks = words.markdown(number).split("\n\n")
    return "\n\n".join(block if block.startswith("#") else f"{block} Serial number {number}." for block in blocks)


def page(number: int) -> str:
    """Return the HTML of a made page: `markdown` as a site would show it."""
    return _html(number, markdown)


def _html(number: int, markdown_of: Callable[[int], str]) -> str:
    """Render the page's Markdown between a menu and a footer, as sites do."""
    blocks = [_block(block) for block in markdown_of(number).split("\n\n")]
    menu = '<nav><a href="/">Home</a> <a href="/page/0">First</a></nav>'
    footer = "<footer>All rights reserved</footer>"
    title, language = html.escape(words.title(number)), words.language(number)
    return (
        f'<!doctype html><html lang="{language}"><head><meta charset="utf-8"><title>{title} {number}</title></head>'
        f"<body>{menu}<main><article>{''.join(blocks)}</article></main>{footer}</body></html>"
    )


def _block(block: str) -> str:
    level = len(block) - len(block.lstrip("#"))
    tag = f"h{level}" if level else "p"
    return f"<{tag}>{html.escape(block.lstrip('# '))}</{tag}>"


async def _reply(send: Send, status: int, content_type: str, body: str) -> None:
    headers = [(b"content-type", content_type.encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body.encode()})
