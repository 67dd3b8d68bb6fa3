"""What a page may have while it is rendered: scripts and data, fetched for it by the guarded client, politely."""

import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings

from core import outbound
from core.outbound import Fetched, OutboundError, parse_target
from crawl import hosts, robots
from crawl.fetching import BUSY

METHODS = {"GET", "HEAD"}
KINDS = {"script": "*/*", "xhr": "application/json, */*", "fetch": "application/json, */*"}  # with what is accepted
KEPT_MAX_BYTES = 8 * 2**20  # of scripts per worker: all pages of a site ask for the same
# What of an answer's head the browser is told: no cookies, and no redirects, which have been followed already.
PASSED_ON = ("content-type", "access-control-allow-origin", "access-control-allow-headers")


@dataclass(frozen=True)
class Given:
    """What the page gets; status 0: nothing."""

    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


NOTHING = Given()


class Kept:
    """The scripts of a crawl that were fetched last."""

    def __init__(self) -> None:
        self._items: OrderedDict[tuple[str, str], Given] = OrderedDict()

    def get(self, crawl: str, url: str) -> Given | None:
        return self._items.get((crawl, url))

    def add(self, crawl: str, url: str, given: Given) -> None:
        self._items[crawl, url] = given
        while sum(len(item.body) for item in self._items.values()) > KEPT_MAX_BYTES:
            self._items.popitem(last=False)


_kept = Kept()


class Allowance:
    """What one page may still ask for. ``crawl`` is the run, ``rules`` its robots.txt by origin."""

    def __init__(self, crawl: str, rules: Mapping[str, str], *, ends_at: float) -> None:
        self.crawl = crawl
        self.rules = rules
        self.ends_at = ends_at
        self.requests_left = settings.CRAWL_RENDER_MAX_REQUESTS
        self.bytes_left = settings.CRAWL_RENDER_MAX_BYTES
        self.refused_count = 0

    def give(self, asked: Mapping[str, Any]) -> Given:
        """Fetch what the page asks for, if it may have it."""
        given = self._fetch(asked)
        if not given.status:
            self.refused_count += 1
        return given

    def _fetch(self, asked: Mapping[str, Any]) -> Given:
        url, method, kind = (str(asked.get(name, "")) for name in ("url", "method", "type"))
        if method not in METHODS or kind not in KINDS or self.requests_left <= 0:
            return NOTHING
        if kind == "script" and (known := _kept.get(self.crawl, url)):
            return known
        self.requests_left -= 1
        try:
            fetched = self._fetch_politely(url, method, KINDS[kind])
        except OutboundError:
            return NOTHING
        if fetched is None:
            return NOTHING
        self.bytes_left -= len(fetched.body)
        headers = {name: fetched.headers[name] for name in PASSED_ON if name in fetched.headers}
        given = Given(fetched.status, headers, fetched.body)
        if kind == "script" and fetched.status == 200:  # noqa: PLR2004
            _kept.add(self.crawl, url, given)
        return given

    def _fetch_politely(self, url: str, method: str, accept: str) -> Fetched | None:
        """Fetch when the host may be asked; None if robots.txt forbids it or the time does not suffice.

        Raises:
            OutboundError: as `core.outbound.fetch`.
        """
        target = parse_target(url)
        rules = self.rules.get(target.origin, "")
        max_bytes = min(settings.CRAWL_PAGE_MAX_BYTES, self.bytes_left)
        if max_bytes <= 0 or not robots.is_allowed(rules, url) or not self._wait_for(target.host_port):
            return None
        pause = max(hosts.gap_seconds(url), robots.delay_seconds(rules))
        try:
            fetched = outbound.fetch(
                url,
                method=method,
                max_bytes=max_bytes,
                headers={"accept": accept},
                timeout_seconds=min(settings.OUTBOUND_READ_TIMEOUT_SECONDS, self._seconds_left()),
            )
            if fetched.status in BUSY:
                pause = max(pause, hosts.retry_after_seconds(fetched.headers.get("retry-after", "")))
            return fetched
        finally:
            hosts.release(target.host_port, pause)

    def _wait_for(self, host: str) -> bool:
        while wait := hosts.acquire(host):
            if wait >= self._seconds_left():
                return False
            time.sleep(wait)
        if self._seconds_left() > 0:
            return True
        hosts.release(host, 0.0)
        return False

    def _seconds_left(self) -> float:
        return self.ends_at - time.monotonic()
