"""What a site's robots.txt allows us (RFC 9309)."""

import math
from functools import lru_cache

from django.conf import settings
from protego import Protego

from core.outbound import Fetched

MAX_BYTES = 512_000  # RFC 9309 asks for at least 500 KiB; the rest of a longer file is ignored
DELAY_MAX_SECONDS = 30.0
_CLIENT_ERRORS = range(400, 500)


class RobotsUnavailableError(Exception):
    """The server failed, so that nothing may be fetched until its robots.txt can be read."""


def text_of(answer: Fetched) -> str:
    """Return the rules of an answer to ``GET /robots.txt``; "" allows everything.

    Raises:
        RobotsUnavailableError: if the server's failure has to be taken for a prohibition.
    """
    if answer.status == 200:  # noqa: PLR2004
        return answer.body.decode("utf-8-sig", errors="replace").replace("\x00", "")
    if answer.status in _CLIENT_ERRORS:
        return ""
    raise RobotsUnavailableError(f"robots.txt: status {answer.status}")


def is_allowed(robots: str, url: str) -> bool:
    return bool(_parsed(robots).can_fetch(url, _agent()))


def delay_seconds(robots: str) -> float:
    """Return the pause the site asks for between two requests, at most 30 s; 0 if it asks for none."""
    delay = _parsed(robots).crawl_delay(_agent())
    if delay is None or not math.isfinite(delay):
        return 0.0
    return min(max(float(delay), 0.0), DELAY_MAX_SECONDS)


def sitemaps(robots: str) -> list[str]:
    return list(_parsed(robots).sitemaps)


def _agent() -> str:
    return settings.CRAWL_USER_AGENT.partition("/")[0]


@lru_cache(maxsize=32)
def _parsed(robots: str) -> Protego:
    return Protego.parse(robots)
