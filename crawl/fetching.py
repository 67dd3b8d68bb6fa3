"""Ask a site for something, politely, and say in the crawl's own words what came of it."""

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.conf import settings
from django.utils import timezone

from core import outbound
from core.outbound import Fetched, OutboundError
from core.turns import Turn
from crawl import hosts

WAIT_INSIDE_SLICE_SECONDS = 2.0
WAIT_BEFORE_OTHERS_SECONDS = 0.2  # of a pause that is sat out while other work waits for the slot
BUSY = {429, 503}


@dataclass(frozen=True)
class NotYetError(Exception):
    """Politeness asks for a pause longer than a slice should sit out."""

    until: datetime


@dataclass(frozen=True)
class Request:
    """What is asked for; redirects to other hosts are followed only if allowed."""

    url: str
    max_bytes: int
    headers: Mapping[str, str] = field(default_factory=dict)
    max_redirects: int | None = None
    truncate: bool = False


def ask(turn: Turn, request: Request, *, delay_seconds: float = 0.0) -> Fetched:
    """Fetch one URL when its host may be asked again.

    Raises:
        NotYetError: if that is too long from now, or if the host answers that it is busy.
        OutboundError: as `core.outbound.fetch`.
    """
    (answer,) = ask_all(turn, [request], delay_seconds=delay_seconds)
    if isinstance(answer, OutboundError):
        raise answer
    assert answer is not None  # noqa: S101 -- the first request is always made
    return answer


def ask_all(
    turn: Turn, requests: Sequence[Request], *, delay_seconds: float = 0.0
) -> list[Fetched | OutboundError | None]:
    """Fetch URLs of one host, several at once; return what came of each, None for those that were not asked for.

    More than one may be given for a host of the operator's own alone (`hosts.burst`). They end when the turn is over,
    or with the first answer that asks for a pause.

    Raises:
        NotYetError: as `ask`.
    """
    name = hosts.name_of(requests[0].url)
    burst = _Burst(turn, max(hosts.gap_seconds(requests[0].url), delay_seconds))
    _wait_for_turn(turn, name)
    try:
        first = burst.fetch(requests[0], is_first=True)
        if len(requests) == 1:
            return [first]
        with ThreadPoolExecutor(settings.CRAWL_OWN_HOST_CONNECTIONS) as pool:
            return [first, *pool.map(burst.fetch, requests[1:])]
    finally:
        hosts.release(name, burst.pause_seconds)


@dataclass
class _Burst:
    turn: Turn
    pause_seconds: float
    is_stopped: bool = False

    def fetch(self, request: Request, *, is_first: bool = False) -> Fetched | OutboundError | None:
        if self.is_stopped or not (is_first or self.turn.goes_on()):
            return None
        try:
            fetched = outbound.fetch(
                request.url,
                max_bytes=request.max_bytes,
                headers={"accept": "text/html,application/xhtml+xml,*/*;q=0.5", **request.headers},
                max_redirects=request.max_redirects,
                truncate=request.truncate,
            )
        except OutboundError as exc:
            return exc
        if fetched.status in BUSY:
            self.is_stopped = True
            asked = hosts.retry_after_seconds(fetched.headers.get("retry-after", ""))
            self.pause_seconds = max(self.pause_seconds, asked)
        return fetched


def _wait_for_turn(turn: Turn, name: str) -> None:
    waited = 0.0
    while wait := hosts.acquire(name):
        waited += wait
        is_long = waited > min(WAIT_INSIDE_SLICE_SECONDS, turn.seconds_left())
        if is_long or (waited > WAIT_BEFORE_OTHERS_SECONDS and turn.others_wait()):
            raise NotYetError(timezone.now() + timedelta(seconds=wait))
        time.sleep(wait)
