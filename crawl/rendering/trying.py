"""Render a page of our own, to tell an operator whether it works here."""

import time

from django.conf import settings

from core.turns import Turn
from crawl.models import Page
from crawl.rendering import running, usable

PAGE = "<div id=root></div><script>root.textContent = navigator.userAgent</script>"
ROOM_SECONDS = 5.0
SANDBOX = (
    "If Chromium cannot make its sandbox here, as in most containers: allow user namespaces, "
    "or set CRAWL_RENDERER_SANDBOX=false (docs/crawling.md)."
)


def examine() -> tuple[str, str]:
    """Return how rendering stands here, and what to do, "" if nothing is."""
    if not usable.is_offered():
        return "off", ""
    trouble, fix = usable.problem()
    if trouble:
        return trouble, fix
    began = time.monotonic()
    try:
        turn = Turn(ROOM_SECONDS)
        tried = running.render(PAGE, url="https://example.com/", crawl="", rules={}, turn=turn)
    except running.NoRoomError:
        return f"{usable.browser()}, busy with pages", ""
    if tried.code != Page.Rendering.RENDERED:
        return f"{usable.browser()}: {tried.detail or Page.Rendering(tried.code).label}", SANDBOX
    sandbox = "" if settings.CRAWL_RENDERER_SANDBOX else ", without Chromium's sandbox"
    took = f"{time.monotonic() - began:.1f} s, {tried.peak_bytes >> 20} MiB"
    return f"{usable.browser()} renders a page in {took}{sandbox}", ""
