"""One slice of a crawl: robots.txt, then sitemaps, then pages, for a few seconds."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.utils import timezone

from core import brownout
from core.jobs import CLAIMS_MAX, kept
from core.outbound import BadResponseError, Fetched, OutboundError, UnreachableError, parse_target
from core.turns import Turn
from crawl import answers, fetching, finishing, frontier, hosts, missing, processing, robots, sending, sitemaps
from crawl.fetching import NotYetError
from crawl.models import CrawlRun, Page
from crawl.urls import Scope, canonicalise

FIRST_TURN_SECONDS = 4.0  # of a run while others wait: a small site is done in one go
UNPROCESSED_MAX = 40  # fetched pages that may wait for their text to be taken while others help with them
PAGE_ATTEMPTS_MAX = CLAIMS_MAX
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
    shared_seconds = FIRST_TURN_SECONDS if run.ticket == 1 else None
    turn = Turn(settings.CRAWL_SLICE_SECONDS, tenant_id=run.tenant_id, shared_seconds=shared_seconds)
    try:
        pause = _work(run, turn)
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


def _work(run: CrawlRun, turn: Turn) -> Pause | None:
    """Do steps until the slice is over (None) or has to rest."""
    while True:
        if not run.record():
            raise LeaseLostError
        if run.stage == CrawlRun.Stage.ROBOTS:
            _start(run, turn)
        elif run.stage == CrawlRun.Stage.SITEMAP:
            _read_sitemap(run, turn)
        else:
            pause = _do_pages(run, turn)
            if pause is not None:
                return pause
        if turn.is_over():
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
    if is_waiting and not frontier.unprocessed_count(run):  # the last page was done meanwhile
        processing.wake(run)


def _start(run: CrawlRun, turn: Turn) -> None:
    root = run.website.root_url
    rules = _robots_of(run, turn, root)
    if not robots.is_allowed(rules, root):
        raise finishing.CannotGoOnError("The site's robots.txt forbids reading it.")
    named = [url for url in (canonicalise(url, root) for url in robots.sitemaps(rules)) if url]
    default = canonicalise("/sitemap.xml", root)
    wanted = dict.fromkeys([*named, *([default] if default else [])])
    scope = Scope.of(run.website)
    if run.missing is None:
        run.record(missing=missing.probe(turn, root, rules))
    frontier.seed(run)
    run.record(
        moved_at=timezone.now(),
        stage=CrawlRun.Stage.SITEMAP,
        sitemaps=[[url, 1] for url in wanted if scope.has_host_of(url)],
    )


def _robots_of(run: CrawlRun, turn: Turn, url: str) -> str:
    """Return the rules for the URL's origin, read once per run."""
    origin = parse_target(url).origin
    if origin not in run.robots:
        try:
            answer = fetching.ask(turn, fetching.Request(f"{origin}/robots.txt", robots.MAX_BYTES, truncate=True))
            text = robots.text_of(answer)
        except (OutboundError, robots.RobotsUnavailableError) as exc:
            if origin != parse_target(run.website.root_url).origin:  # http for https: its pages alone are out of reach
                raise UnreachableError(str(exc)) from exc
            _note_trouble(run, exc, "The site's robots.txt cannot be read")
            raise NotYetError(timezone.now() + timedelta(seconds=RETRY_SECONDS)) from exc
        run.record(robots=run.robots | {origin: text}, trouble_count=0)
    return run.robots[origin]


def _read_sitemap(run: CrawlRun, turn: Turn) -> None:
    if not run.sitemaps or len(run.sitemaps_seen) >= sitemaps.MAX_SITEMAPS:
        run.record(moved_at=timezone.now(), stage=CrawlRun.Stage.PAGES, sitemaps=[])
        return
    (url, depth), rest = run.sitemaps[0], run.sitemaps[1:]
    children: list[list[object]] = []
    if url not in run.sitemaps_seen:
        listed = _fetch_sitemap(run, turn, url)
        pages = [page for page in (canonicalise(text, url) for text in listed.pages) if page]
        frontier.add_urls(run, pages, depth=1)
        if depth < sitemaps.MAX_DEPTH:
            scope = Scope.of(run.website)
            found = [child for child in (canonicalise(text, url) for text in listed.sitemaps) if child]
            children = [[child, depth + 1] for child in found if scope.has_host_of(child)]
    run.record(
        moved_at=timezone.now(),
        sitemaps=[*rest, *children[: sitemaps.MAX_SITEMAPS]],
        sitemaps_seen=[*run.sitemaps_seen, url],
    )


def _fetch_sitemap(run: CrawlRun, turn: Turn, url: str) -> sitemaps.Sitemap:
    """Return what the sitemap lists, nothing if it cannot be had: pages are found through links as well."""
    try:
        rules = _robots_of(run, turn, url)
        answer = fetching.ask(
            turn,
            fetching.Request(url, sitemaps.MAX_BYTES, truncate=True),
            delay_seconds=robots.delay_seconds(rules),
        )
    except OutboundError:
        return sitemaps.Sitemap([], [])
    return sitemaps.parse(answer.body) if answer.status == 200 else sitemaps.Sitemap([], [])  # noqa: PLR2004


def _do_pages(run: CrawlRun, turn: Turn) -> Pause | None:
    """Fetch the next pages, or process some that were fetched; return a pause if there is neither to be done now.

    While nobody waits for a slot, other workers are asked to process what this one fetches, up to `UNPROCESSED_MAX`
    pages ahead. Otherwise the slice does it all itself: then a run has a single message in line, however large it is.
    """
    unprocessed = frontier.unprocessed_count(run)  # counted first: a page adds its links before it leaves this count
    is_helped = not turn.others_wait()
    room = brownout.window(UNPROCESSED_MAX if is_helped else hosts.BURST_PAGES) - unprocessed
    pages = frontier.next_pages(run, min(room, hosts.burst(run.website.root_url))) if room > 0 else []
    if pages:
        _fetch_pages(run, turn, pages, is_helped=is_helped)
        return None
    if unprocessed and _process_pages(run, turn):
        return None
    retry_at = frontier.next_retry_at(run)
    if retry_at is None and not unprocessed:
        raise NothingLeftError
    return Pause(None if unprocessed else retry_at)


def _process_pages(run: CrawlRun, turn: Turn) -> bool:
    """Take the text out of some of the run's fetched pages; False if others are at all that are left."""
    pages = Page.objects.filter(run=run).claim_batch(sending.BATCH_PAGES)
    if not pages:
        return False
    with kept(pages[0]):
        left, _bugs = processing.process(pages, turn)
    frontier.give_back(left)
    return True


def _fetch_pages(run: CrawlRun, turn: Turn, pages: list[Page], *, is_helped: bool) -> None:
    """Fetch those of the pages that may be fetched together with the first; the others' turn comes later."""
    rules = _rules_for(run, turn, pages[0])
    if rules is None:
        return
    delay_seconds = robots.delay_seconds(rules)
    together = pages[:1] if delay_seconds else _of_one_origin(pages)
    wanted = [page for page in together if not _set_aside(run, page, rules)]
    if not wanted:
        return
    frontier.count_attempts(wanted)  # committed before the requests: a page that kills workers is counted
    requests = [
        fetching.Request(page.url, answers.max_bytes(page.url), headers=answers.validators(page), max_redirects=0)
        for page in wanted
    ]
    try:
        got = fetching.ask_all(turn, requests, delay_seconds=delay_seconds)
    except NotYetError:
        frontier.uncount_attempts(wanted)
        raise
    _take_all(run, list(zip(wanted, got, strict=True)), is_helped=is_helped)


def _of_one_origin(pages: list[Page]) -> list[Page]:
    """Return those of the first one's origin; a file, which may be large, comes alone."""
    origin = parse_target(pages[0].url).origin
    alike = [page for page in pages if page.url.startswith(f"{origin}/") and not answers.is_file(page.url)]
    return pages[:1] if answers.is_file(pages[0].url) else alike


def _rules_for(run: CrawlRun, turn: Turn, page: Page) -> str | None:
    """Return the robots.txt that the page is under, or close the page if there can be none."""
    try:
        return _robots_of(run, turn, page.url)
    except OutboundError as exc:
        frontier.close(page, Page.State.FAILED, exc.code)
        return None


def _set_aside(run: CrawlRun, page: Page, rules: str) -> bool:
    """Close a page that is not to be fetched; False if it is."""
    if page.attempts >= PAGE_ATTEMPTS_MAX:
        frontier.close(page, Page.State.FAILED, Page.Reason.CRASHED)
    elif page.url != run.website.root_url and not Scope.of(run.website).covers(page.url):
        frontier.close(page, Page.State.SKIPPED, Page.Reason.OUT_OF_SCOPE)
    elif not robots.is_allowed(rules, page.url):
        frontier.close(page, Page.State.SKIPPED, Page.Reason.ROBOTS)
    else:
        return False
    return True


def _take_all(run: CrawlRun, got: list[tuple[Page, Fetched | OutboundError | None]], *, is_helped: bool) -> None:
    """Store what came first of all: trouble with one page, which may end the slice, must not lose the others."""
    frontier.uncount_attempts([page for page, answer in got if answer is None])
    whole = [(page, answer) for page, answer in got if isinstance(answer, Fetched) and not _is_trouble(page, answer)]
    bodies = [body for page, answer in whole if (body := answers.take(run, page, answer)) is not None]
    if bodies:
        frontier.store_bodies(bodies, asks_for_help=is_helped)
    if whole:
        run.record(moved_at=timezone.now(), trouble_count=0, attempts=0)
    for page, answer in got:
        if isinstance(answer, OutboundError):
            _note_failure(run, page, answer, is_trouble=not whole)
        elif answer is not None and _is_trouble(page, answer):
            _note_trouble_answer(run, page, answer)


def _is_trouble(page: Page, answer: Fetched) -> bool:
    """Return whether the page is to be asked for again later."""
    return answer.status in fetching.BUSY or (answer.status >= 500 and page.attempts < PAGE_ATTEMPTS_MAX)  # noqa: PLR2004


def _note_failure(run: CrawlRun, page: Page, exc: OutboundError, *, is_trouble: bool) -> None:
    """Try the page again later, or close it; it is the site's trouble if others were not answered either."""
    if exc.is_temporary and page.attempts < PAGE_ATTEMPTS_MAX:
        frontier.retry_later(page, RETRY_SECONDS * page.attempts**2)
    else:
        frontier.close(page, Page.State.FAILED, exc.code)
    if is_trouble and exc.is_temporary and not isinstance(exc, BadResponseError):
        _note_trouble(run, exc, "The site stopped answering")


def _note_trouble_answer(run: CrawlRun, page: Page, answer: Fetched) -> None:
    if answer.status not in fetching.BUSY:
        frontier.retry_later(page, RETRY_SECONDS * page.attempts**2)
        return
    pause = hosts.retry_after_seconds(answer.headers.get("retry-after", ""))
    is_last = page.attempts >= PAGE_ATTEMPTS_MAX and answer.status != 429  # noqa: PLR2004
    if is_last:
        frontier.close(page, Page.State.FAILED, Page.Reason.HTTP_ERROR, http_status=answer.status)
    else:
        Page.objects.filter(pk=page.pk).update(attempts=min(page.attempts, PAGE_ATTEMPTS_MAX - 1))
    _note_trouble(run, None, f"The site keeps answering with status {answer.status}")
    raise NotYetError(timezone.now() + timedelta(seconds=pause))


def _note_trouble(run: CrawlRun, exc: Exception | None, text: str) -> None:
    """Count a request that the site did not answer; give it a pause after several, and up after many."""
    run.record(trouble_count=run.trouble_count + 1)
    if run.trouble_count >= TROUBLE_MAX:
        raise finishing.CannotGoOnError(f"{text}: {exc}" if exc else f"{text}.")
    if run.trouble_count >= TROUBLE_PAUSE_AFTER:
        pause = TROUBLE_PAUSE_SECONDS * 2 ** (run.trouble_count - TROUBLE_PAUSE_AFTER)
        raise NotYetError(timezone.now() + timedelta(seconds=min(pause, 300)))
