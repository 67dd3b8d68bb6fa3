"""Ask a site for something, politely, and say in the crawl's own words what came of it."""

import time
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils import timezone

from core import outbound
from core.outbound import Fetched
from crawl import hosts

WAIT_INSIDE_SLICE_SECONDS = 2.0
BUSY = {429, 503}


@dataclass(frozen=True)
class NotYetError(Exception):
    """Politeness asks for a pause longer than a slice should sit out."""

    until: datetime


@dataclass
class Slice:
    """The time one task has."""

    ends_at: float

    def seconds_left(self) -> float:
        return self.ends_at - time.monotonic()


def ask(
    work: Slice,
    url: str,
    *,
    max_bytes: int,
    delay_seconds: float = 0.0,
    headers: dict[str, str] | None = None,
    max_redirects: int | None = None,
    truncate: bool = False,
) -> Fetched:
    """Fetch the URL when its host may be asked again; redirects to other hosts are followed only if allowed.

    Raises:
        NotYetError: if that is too long from now, or if the host answers that it is busy.
        OutboundError: as `core.outbound.fetch`.
    """
    name = hosts.name_of(url)
    pause = max(hosts.gap_seconds(url), delay_seconds)
    _wait_for_turn(work, name)
    try:
        fetched = outbound.fetch(
            url,
            max_bytes=max_bytes,
            headers={"accept": "text/html,application/xhtml+xml,*/*;q=0.5", **(headers or {})},
            max_redirects=max_redirects,
            truncate=truncate,
        )
        if fetched.status in BUSY:
            pause = max(pause, hosts.retry_after_seconds(fetched.headers.get("retry-after", "")))
        return fetched
    finally:
        hosts.release(name, pause)


def _wait_for_turn(work: Slice, name: str) -> None:
    while wait := hosts.acquire(name):
        if wait > min(WAIT_INSIDE_SLICE_SECONDS, work.seconds_left()):
            raise NotYetError(timezone.now() + timedelta(seconds=wait))
        time.sleep(wait)
