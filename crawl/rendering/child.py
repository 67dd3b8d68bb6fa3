"""The process that renders one page: ``python -m crawl.rendering.child``.

It has no settings, no database, no secrets in its environment and no network. The page comes in on stdin; whatever its
scripts ask for is asked of the worker through stdout, whose last message holds the page as it then stands. It does not
tidy up: the worker ends it with all its descendants.
"""

import asyncio
import os
import sys
import threading
import time
from itertools import count
from typing import Any

from playwright.async_api import Error, Page, Request, Route, async_playwright

from crawl.rendering import wire
from crawl.rendering.confining import CannotConfineError, confine
from crawl.rendering.tree import Tree

ANSWER_MAX_BYTES = 64 * 2**20
ASKED_FOR = {"script", "xhr", "fetch"}
URL_MAX_CHARS = 8192
REST_SECONDS = 0.6  # without asking for anything
REST_SHARE = 0.8  # of the time at most; then what there is has to do
STEP_SECONDS = 0.05
LOOKS_MAX = 4  # for a page that changes for ever
LOOK_SECONDS = 0.4
NOWHERE = "http://nowhere.invalid:1"
ARGUMENTS = [
    # What none of our routes catches finds no address: neither a name nor the proxy that everything would go through.
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--disable-quic",
    "--webrtc-ip-handling-policy=disable_non_proxied_udp",
    "--disable-background-networking",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-crash-reporter",
    "--disable-remote-fonts",
    "--mute-audio",
    "--blink-settings=imagesEnabled=false",
]


class Renderer:
    def __init__(self, order: dict[str, Any], body: bytes) -> None:
        self.order = order
        self.body = body
        self.ends_at = time.monotonic() + order["seconds"]
        self.ended: asyncio.Future[tuple[dict[str, Any], bytes]] = asyncio.get_running_loop().create_future()
        self.numbers = count(1)
        self.moved_at = time.monotonic()
        self.waiting: dict[int, asyncio.Future[tuple[dict[str, Any], bytes]]] = {}
        self.page: Page | None = None
        self.served_url = ""  # as the browser writes it

    def seconds_left(self) -> float:
        return max(self.ends_at - time.monotonic(), 0.0)

    def end(self, code: str, body: bytes = b"", **more: str) -> None:
        if not self.ended.done():
            self.ended.set_result(({"end": code, **more}, body))

    async def run(self) -> None:
        """Open the page, wait until it rests, and end with what it shows."""
        try:
            async with asyncio.timeout(self.seconds_left()):
                page = await self._open()
                await self._wait_until_it_rests(page)
                html = (await page.content()).encode("utf-8", errors="replace")
        except TimeoutError:
            self.end("timeout")
        except Error as exc:
            self.end("crashed" if self.served_url else "unusable", detail=str(exc).partition("\n")[0][:300])
        else:
            self.end(*(("too_large",) if len(html) > self.order["max_bytes"] else ("rendered", html)))

    async def _open(self) -> Page:
        playwright = await async_playwright().start()
        browser = await playwright.chromium.launch(
            executable_path=self.order["browser"],
            chromium_sandbox=self.order["sandbox"],
            args=[*ARGUMENTS, f"--js-flags=--max-old-space-size={self.order['script_megabytes']}"],
            proxy={"server": NOWHERE, "bypass": "<-loopback>"},
        )
        chrome = f"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{browser.version}"
        context = await browser.new_context(
            user_agent=f"{chrome} Safari/537.36 {self.order['user_agent']}",
            service_workers="block",
            accept_downloads=False,
        )
        await context.route("**/*", self._answer)
        self.page = await context.new_page()
        self.page.on("crash", lambda _page: self.end("crashed"))
        self.page.on("popup", lambda popup: asyncio.ensure_future(popup.close()))
        await self.page.goto(self.order["url"], wait_until="domcontentloaded", timeout=0)
        self.moved_at = time.monotonic()
        return self.page

    async def _wait_until_it_rests(self, page: Page) -> None:
        """Wait until it has asked for nothing for a moment, then until it stops changing; what asks for ever is cut."""
        latest = time.monotonic() + REST_SHARE * self.seconds_left()
        while self.waiting or time.monotonic() < self.moved_at + REST_SECONDS:
            if time.monotonic() > latest:
                return
            await asyncio.sleep(STEP_SECONDS)
        before = await page.content()
        for _look in range(LOOKS_MAX):
            await asyncio.sleep(LOOK_SECONDS)
            now = await page.content()
            if now == before or time.monotonic() > latest:
                return
            before = now

    async def _answer(self, route: Route) -> None:
        request = route.request
        if request.is_navigation_request():
            await self._navigate(route)
        elif request.resource_type == "stylesheet":  # nothing of it is text, but scripts wait for it
            await route.fulfill(status=200, body="", content_type="text/css")
        elif self._may_be_asked(request):
            head, body = await self._ask(url=request.url, method=request.method, type=request.resource_type)
            if head["status"]:
                await route.fulfill(status=head["status"], headers=head["headers"], body=body)
            else:
                await route.abort("accessdenied")
        else:
            await route.abort("blockedbyclient")

    def _may_be_asked(self, request: Request) -> bool:
        is_read = request.resource_type in ASKED_FOR and request.method in {"GET", "HEAD"}
        return is_read and len(request.url) <= URL_MAX_CHARS

    async def _navigate(self, route: Route) -> None:
        """Serve the page itself once. Frames stay empty; where its scripts lead on to is told instead of followed."""
        url = route.request.url
        if not self.served_url:
            self.served_url = url
            await route.fulfill(status=200, body=self.body, content_type="text/html; charset=utf-8")
            return
        if url != self.served_url and len(url) <= URL_MAX_CHARS and self._is_main(route):
            self.end("led_on", goal=url)
        await route.abort("aborted")

    def _is_main(self, route: Route) -> bool:
        try:
            return self.page is not None and route.request.frame == self.page.main_frame
        except Error:  # a window that is only about to be opened
            return False

    async def _ask(self, **what: str) -> tuple[dict[str, Any], bytes]:
        number = next(self.numbers)
        self.moved_at = time.monotonic()
        answer = self.waiting[number] = asyncio.get_running_loop().create_future()
        wire.send(sys.stdout.buffer, {"ask": number, **what})
        return await answer

    def hear(self, head: dict[str, Any], body: bytes) -> None:
        self.moved_at = time.monotonic()
        answer = self.waiting.pop(head["answer"])
        if not answer.done():
            answer.set_result((head, body))


def _listen(renderer: Renderer, loop: asyncio.AbstractEventLoop) -> None:
    """Pass on what the worker says; end everything once it says no more, because it has died."""
    try:
        while True:
            loop.call_soon_threadsafe(renderer.hear, *wire.receive(sys.stdin.buffer, max_bytes=ANSWER_MAX_BYTES))
    except (wire.BrokenWireError, RuntimeError):
        Tree(os.getpid()).end()


async def _run(order: dict[str, Any], body: bytes) -> None:
    renderer = Renderer(order, body)
    threading.Thread(target=_listen, args=(renderer, asyncio.get_running_loop()), daemon=True).start()
    running = asyncio.create_task(renderer.run())
    wire.send(sys.stdout.buffer, *await renderer.ended)
    await asyncio.gather(running, asyncio.Event().wait())  # until the worker ends us


def main() -> None:
    order, body = wire.receive(sys.stdin.buffer, max_bytes=ANSWER_MAX_BYTES)
    try:
        confine(cpu_seconds=order["seconds"])
    except CannotConfineError as exc:
        wire.send(sys.stdout.buffer, {"end": "unusable", "detail": str(exc)})
    else:
        asyncio.run(_run(order, body))


if __name__ == "__main__":
    main()
