"""Have one page rendered by a process of its own, and end that with all its descendants whatever happens."""

import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fcntl import LOCK_EX, LOCK_NB, flock
from typing import BinaryIO

import structlog
from django.conf import settings

from core.turns import Turn
from crawl.models import URL_MAX_CHARS, Page
from crawl.rendering import usable, wire
from crawl.rendering.asking import Allowance
from crawl.rendering.tree import Tree

log = structlog.get_logger(__name__)

GRACE_SECONDS = 3.0  # for the browser to start and the page to be handed over, before all is ended
LOOK_SECONDS = 0.1
ROOM_SECONDS = 0.1
Code = Page.Rendering
_ENDS = {
    "rendered": Code.RENDERED,
    "led_on": Code.RENDERED,
    "timeout": Code.TIMEOUT,
    "too_large": Code.TOO_LARGE,
    "crashed": Code.CRASHED,
    "unusable": Code.UNUSABLE,
}


class NoRoomError(Exception):
    """As many pages as may be are being rendered on this machine; the turn is over."""


@dataclass(frozen=True)
class Rendered:
    """What came of it: ``html`` as the page stood at its end, or ``goal``, the URL that its scripts lead on to."""

    code: str
    html: str = ""
    goal: str = ""
    detail: str = ""
    peak_bytes: int = 0


def render(html: str, *, url: str, crawl: str, rules: Mapping[str, str], turn: Turn) -> Rendered:
    """Run the page's scripts. ``crawl`` is the run that it belongs to, ``rules`` the run's robots.txt by origin.

    Raises:
        NoRoomError: if there is no room before the turn is over.
    """
    trouble, fix = usable.problem()
    if trouble:
        return Rendered(Code.UNUSABLE, detail=f"{trouble}. {fix}")
    with _room(turn):
        ends_at = time.monotonic() + settings.CRAWL_RENDER_SECONDS
        allowance = Allowance(crawl, rules, ends_at=ends_at)
        rendered = _in_a_process(html, url, allowance)
    log.info(
        "page_rendered",
        url=url,
        code=rendered.code,
        detail=rendered.detail,
        seconds=round(time.monotonic() - ends_at + settings.CRAWL_RENDER_SECONDS, 1),
        megabytes=rendered.peak_bytes >> 20,
        refused=allowance.refused_count,
    )
    return rendered


@contextmanager
def _room(turn: Turn) -> Iterator[None]:
    """Hold one of the machine's places; the system frees them if their holder dies."""
    folder = settings.VAR_DIR / "run"
    folder.mkdir(parents=True, exist_ok=True)
    while True:
        for number in range(settings.CRAWL_RENDER_PROCESSES):
            with (folder / f"render-{number}.lock").open("wb") as place:
                if _is_taken(place):
                    continue
                yield
                return
        if turn.is_over():
            raise NoRoomError
        time.sleep(ROOM_SECONDS)


def _is_taken(place: BinaryIO) -> bool:
    try:
        flock(place, LOCK_EX | LOCK_NB)
    except BlockingIOError:
        return True
    return False


def _in_a_process(html: str, url: str, allowance: Allowance) -> Rendered:
    order = {
        "url": url,
        "browser": usable.browser(),
        "sandbox": settings.CRAWL_RENDERER_SANDBOX,
        "user_agent": settings.CRAWL_USER_AGENT,
        "seconds": settings.CRAWL_RENDER_SECONDS,
        "max_bytes": settings.CRAWL_PAGE_MAX_BYTES,
        "script_megabytes": settings.CRAWL_RENDER_MEMORY_BYTES >> 21,
    }
    with tempfile.TemporaryDirectory(prefix="pasokh-render-", ignore_cleanup_errors=True) as home:
        process = subprocess.Popen(
            [sys.executable, "-m", "crawl.rendering.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=settings.BASE_DIR,
            env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": home, "TMPDIR": home},
            start_new_session=True,  # signals to the worker's group are not for it
        )
        watch = Watch(Tree(process.pid), allowance.ends_at + GRACE_SECONDS)
        try:
            rendered = _converse(process, order, html, allowance)
        finally:
            watch.end()
            process.communicate()
    return Rendered(watch.verdict or rendered.code, rendered.html, rendered.goal, rendered.detail, watch.peak_bytes)


def _converse(
    process: subprocess.Popen[bytes], order: Mapping[str, object], html: str, allowance: Allowance
) -> Rendered:
    """Give the page to the renderer and fetch what it asks for until it is done."""
    assert process.stdin is not None  # noqa: S101 -- both are pipes
    assert process.stdout is not None  # noqa: S101
    try:
        wire.send(process.stdin, dict(order), html.encode("utf-8", errors="replace"))
        while True:
            head, body = wire.receive(process.stdout, max_bytes=settings.CRAWL_PAGE_MAX_BYTES)
            if "ask" not in head:
                code = _ENDS.get(str(head.get("end")), Code.CRASHED)
                goal, detail = (str(head.get(name, ""))[:URL_MAX_CHARS] for name in ("goal", "detail"))
                return Rendered(code, body.decode("utf-8", errors="replace"), goal, detail)
            given = allowance.give(head)
            answer = {"answer": head["ask"], "status": given.status, "headers": dict(given.headers)}
            wire.send(process.stdin, answer, given.body)
    except wire.BrokenWireError:  # ended at one of its limits, or gone astray
        return Rendered(Code.CRASHED)


class Watch:
    """Ends the renderer when it takes too long or too much memory, which it cannot be trusted to see itself."""

    def __init__(self, tree: Tree, ends_at: float) -> None:
        self.tree = tree
        self.ends_at = ends_at
        self.verdict = ""
        self.peak_bytes = 0
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._look_on, name="render-watch", daemon=True)
        self._thread.start()

    def end(self) -> None:
        self._is_over.set()
        self._thread.join()
        self.tree.end()

    def _look_on(self) -> None:
        while not self._is_over.wait(LOOK_SECONDS):
            taken = self.tree.memory_bytes()
            self.peak_bytes = max(self.peak_bytes, taken)
            if taken > settings.CRAWL_RENDER_MEMORY_BYTES:
                self.verdict = Code.MEMORY
            elif time.monotonic() > self.ends_at:
                self.verdict = Code.TIMEOUT
            else:
                continue
            self.tree.end()
            return
