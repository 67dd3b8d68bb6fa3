"""One slice of a crawl: robots.txt, then sitemaps, then pages, for a few seconds."""

import time
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.utils import timezone

from core import brownout
from core.outbound import BadResponseError, Fetched, OutboundError, parse_target
from crawl import answers, fetching, finishing, frontier, hosts, robots, sending, sitemaps
from crawl.fetching import NotYetError, Slice
from crawl.models import CrawlRun, Page
from crawl.urls import Scope, canonicalise

UNPROCESSED_MAX = 40  # fetched pages that may wait for their text to be taken before fetching pauses
PAGE_ATTEMPTS_MAX = 3
TROUBLE_PAUSE_AFTER = 4  # requests in a row that failed, after which the site gets a pause
TROUBLE_MAX = 10
TROUBLE_PAUSE_SECONDS = 15
WAITING_RECHECK_SECONDS = 2
RETRY_SECONDS = 5


@dataclass(frozen=True)
class Pause:
    """The chain rests: until a moment, or (None) until fetched pages have been processed."""

    until: datetime | None


class NothingLeftError(Exception):
    """Every page of the run has been fetched and processed."""


class LeaseLostError(Exception):
    """The run was stopped, or another worker took it over."""


def run_slice(run: CrawlRun) -> None:
    """Work on a claimed run for a slice's time, then pass it on: to the next slice, to a pause, or to its end."""
    work = Slice(ends_at=time.monotonic() + settings.CRAWL_SLICE_SECONDS)
    try:
        pause = _work(run, work)
    except LeaseLostError:
        return
    except NotYetError as exc:
        pause = Pause(exc.until)
    except NothingLeftError:
        finishing.finish(run)
        return
    except finishing.CannotGoOnError as exc:
        finishing.finish(run, error=str(exc))
        return
    _pass_on(run, pause)


def _work(run: CrawlRun, work: Slice) -> Pause | None:
    """Do steps until the slice is over (None) or has to rest."""
    while work.seconds_left() > 0:
        if not run.record():
            raise LeaseLostError
        if run.stage == CrawlRun.Stage.ROBOTS:
            _start(run, work)
        elif run.stage == CrawlRun.Stage.SITEMAP:
            _read_sitemap(run, work)
        else:
            pause = _fetch_page(run, work)
            if pause is not None:
                return pause
    return None


def _pass_on(run: CrawlRun, pause: Pause | None) -> None:
    """Give the run back; a pause leaves no message in the queue, the sweeper sends it when it is over."""
    if pause is None and (rest := brownout.pause_seconds()):
        pause = Pause(timezone.now() + timedelta(seconds=rest))
    if pause is None:
        if run.let_go(attempts=0):
            sending.send_run(run)
        return
    until = pause.until or timezone.now() + timedelta(seconds=WAITING_RECHECK_SECONDS)
    is_waiting = pause.until is None
    run.let_go(attempts=0, is_waiting=is_waiting, not_before=None if is_waiting else until, send_at=until)


def _start(run: CrawlRun, work: Slice) -> None:
    root = run.website.root_url
    rules = _robots_of(run, work, root)
    if not robots.is_allowed(rules, root):
        raise finishing.CannotGoOnError("The site's robots.txt forbids reading it.")
    named = [url for url in (canonicalise(url, root) for url in robots.sitemaps(rules)) if url]
    default = canonicalise("/sitemap.xml", root)
    wanted = dict.fromkeys([*named, *([default] if default else [])])
    scope = Scope.of(run.website)
    frontier.seed(run)
    run.record(stage=CrawlRun.Stage.SITEMAP, sitemaps=[[url, 1] for url in wanted if scope.has_host_of(url)])


def _robots_of(run: CrawlRun, work: Slice, url: str) -> str:
    """Return the rules for the URL's origin, read once per run."""
    origin = parse_target(url).origin
    if origin not in run.robots:
        try:
            answer = fetching.ask(work, f"{origin}/robots.txt", max_bytes=robots.MAX_BYTES, truncate=True)
            text = robots.text_of(answer)
        except (OutboundError, robots.RobotsUnavailableError) as exc:
            _note_trouble(run, exc, "The site's robots.txt cannot be read")
            raise NotYetError(timezone.now() + timedelta(seconds=RETRY_SECONDS)) from exc
        run.record(robots=run.robots | {origin: text}, trouble_count=0)
    return run.robots[origin]


def _read_sitemap(run: CrawlRun, work: Slice) -> None:
    if not run.sitemaps or len(run.sitemaps_seen) >= sitemaps.MAX_SITEMAPS:
        run.record(stage=CrawlRun.Stage.PAGES, sitemaps=[])
        return
    (url, depth), rest = run.sitemaps[0], run.sitemaps[1:]
    children: list[list[object]] = []
    if url not in run.sitemaps_seen:
        listed = _fetch_sitemap(run, work, url)
        pages = [page for page in (canonicalise(text, url) for text in listed.pages) if page]
        frontier.add_urls(run, pages, depth=1)
        if depth < sitemaps.MAX_DEPTH:
            scope = Scope.of(run.website)
            found = [child for child in (canonicalise(text, url) for text in listed.sitemaps) if child]
            children = [[child, depth + 1] for child in found if scope.has_host_of(child)]
    run.record(sitemaps=[*rest, *children[: sitemaps.MAX_SITEMAPS]], sitemaps_seen=[*run.sitemaps_seen, url])


def _fetch_sitemap(run: CrawlRun, work: Slice, url: str) -> sitemaps.Sitemap:
    """Return what the sitemap lists, nothing if it cannot be had: pages are found through links as well."""
    rules = _robots_of(run, work, url)
    try:
        answer = fetching.ask(
            work, url, max_bytes=sitemaps.MAX_BYTES, delay_seconds=robots.delay_seconds(rules), truncate=True
        )
    except OutboundError:
        return sitemaps.Sitemap([], [])
    return sitemaps.parse(answer.body) if answer.status == 200 else sitemaps.Sitemap([], [])  # noqa: PLR2004


def _fetch_page(run: CrawlRun, work: Slice) -> Pause | None:
    """Fetch the next page; return a pause if there is none to be fetched now."""
    unprocessed = frontier.unprocessed_count(run)  # counted first: a page adds its links before it leaves this count
    if unprocessed >= brownout.window(UNPROCESSED_MAX):
        return Pause(None)
    page = frontier.next_page(run)
    if page is None:
        retry_at = frontier.next_retry_at(run)
        if retry_at is None and not unprocessed:
            raise NothingLeftError
        return Pause(retry_at)
    if page.attempts >= PAGE_ATTEMPTS_MAX:
        frontier.close(page, Page.State.FAILED, Page.Reason.CRASHED)
    elif page.url != run.website.root_url and not Scope.of(run.website).covers(page.url):
        frontier.close(page, Page.State.SKIPPED, Page.Reason.OUT_OF_SCOPE)
    else:
        _fetch_allowed_page(run, work, page)
    return None


def _fetch_allowed_page(run: CrawlRun, work: Slice, page: Page) -> None:
    try:
        rules = _robots_of(run, work, page.url)
    except OutboundError as exc:
        frontier.close(page, Page.State.FAILED, exc.code)
        return
    if not robots.is_allowed(rules, page.url):
        frontier.close(page, Page.State.SKIPPED, Page.Reason.ROBOTS)
        return
    page.attempts += 1
    page.save(update_fields=["attempts"])  # committed before the request: a page that kills workers is counted
    try:
        answer = fetching.ask(
            work,
            page.url,
            max_bytes=settings.CRAWL_PAGE_MAX_BYTES,
            delay_seconds=robots.delay_seconds(rules),
            headers=answers.validators(page),
            max_redirects=0,
        )
    except NotYetError:
        Page.objects.filter(pk=page.pk).update(attempts=page.attempts - 1)
        raise
    except OutboundError as exc:
        _note_failure(run, page, exc)
    else:
        _note_answer(run, page, answer)


def _note_failure(run: CrawlRun, page: Page, exc: OutboundError) -> None:
    if exc.is_temporary and page.attempts < PAGE_ATTEMPTS_MAX:
        frontier.retry_later(page, RETRY_SECONDS * page.attempts**2)
    else:
        frontier.close(page, Page.State.FAILED, exc.code)
    if exc.is_temporary and not isinstance(exc, BadResponseError):
        _note_trouble(run, exc, "The site stopped answering")


def _note_answer(run: CrawlRun, page: Page, answer: Fetched) -> None:
    if answer.status in fetching.BUSY:
        pause = hosts.retry_after_seconds(answer.headers.get("retry-after", ""))
        is_last = page.attempts >= PAGE_ATTEMPTS_MAX and answer.status != 429  # noqa: PLR2004
        if is_last:
            frontier.close(page, Page.State.FAILED, Page.Reason.HTTP_ERROR, http_status=answer.status)
        else:
            Page.objects.filter(pk=page.pk).update(attempts=min(page.attempts, PAGE_ATTEMPTS_MAX - 1))
        _note_trouble(run, None, f"The site keeps answering with status {answer.status}")
        raise NotYetError(timezone.now() + timedelta(seconds=pause))
    if answer.status >= 500 and page.attempts < PAGE_ATTEMPTS_MAX:  # noqa: PLR2004
        frontier.retry_later(page, RETRY_SECONDS * page.attempts**2)
        return
    answers.take(run, page, answer)
    if run.trouble_count or run.attempts:
        run.record(trouble_count=0, attempts=0)


def _note_trouble(run: CrawlRun, exc: Exception | None, text: str) -> None:
    """Count a request that the site did not answer; give it a pause after several, and up after many."""
    run.record(trouble_count=run.trouble_count + 1)
    if run.trouble_count >= TROUBLE_MAX:
        raise finishing.CannotGoOnError(f"{text}: {exc}" if exc else f"{text}.")
    if run.trouble_count >= TROUBLE_PAUSE_AFTER:
        pause = TROUBLE_PAUSE_SECONDS * 2 ** (run.trouble_count - TROUBLE_PAUSE_AFTER)
        raise NotYetError(timezone.now() + timedelta(seconds=min(pause, 300)))
