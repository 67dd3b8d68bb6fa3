"""Take the text out of a fetched page and hand it to the knowledge."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from contextlib import AbstractContextManager

import structlog
from celery.exceptions import SoftTimeLimitExceeded
from django.db import IntegrityError, transaction
from django.utils import timezone

from core.jobs import closed_on_bug
from core.turns import Turn
from crawl import answers, frontier, missing, sending
from crawl.extraction import ParsedPage
from crawl.models import CrawlRun, Page
from crawl.reading import Reading, read, why_not_rendered
from crawl.urls import Scope
from knowledge import services as knowledge

log = structlog.get_logger(__name__)


def process(pages: Sequence[Page], turn: Turn) -> tuple[list[Page], list[Exception]]:
    """Process pages of one run that were claimed together; return those not reached in time, and the bugs met.

    Each page's row is closed with a reason, or its text stored. A bug in one page closes that page alone.
    """
    run = pages[0].run
    if run is None or run.is_finished:
        for page in pages:
            frontier.close(page, Page.State.SKIPPED, Page.Reason.CANCELLED)
        return [], []
    bugs: list[Exception] = []
    readings: list[tuple[Page, Reading]] = []
    for page in pages:
        if readings and turn.is_over():
            break
        with _alone(page, bugs):
            reading = read(page, turn)
            if reading is None:
                break
            readings.append((page, reading))
    left = list(pages[len(readings) + len(bugs) :])
    _add_links(run, readings)
    for page, reading in readings:
        with _alone(page, bugs):
            _close_or_store(run, page, reading)
    knowledge.ring_for_vectors(tenant=pages[0].tenant)
    run.note_movement()
    return left, bugs


def _alone(page: Page, bugs: list[Exception]) -> AbstractContextManager[None]:
    def close(exc: Exception) -> bool:
        log.exception("page_processing_failed", page_id=page.pk)
        frontier.close(page, Page.State.FAILED, Page.Reason.UNREADABLE)
        bugs.append(exc)
        return not isinstance(exc, SoftTimeLimitExceeded)

    return closed_on_bug(close)


def _add_links(run: CrawlRun, readings: Sequence[tuple[Page, Reading]]) -> None:
    """Put all links on the list before any of the pages is closed: the run must not seem done in between."""
    links: dict[int, list[str]] = defaultdict(list)
    for page, reading in readings:
        if reading.parsed is not None and reading.goal is None and not run.is_partial:
            links[page.depth + 1] += reading.parsed.links
    for depth in sorted(links):
        frontier.add_urls(run, links[depth], depth=depth)


def _close_or_store(run: CrawlRun, page: Page, reading: Reading) -> None:
    if reading.ending is not None:
        frontier.close(page, *reading.ending)
    elif reading.goal is not None:
        answers.redirect(run, page, reading.goal)
    elif reading.parsed is None:
        _store(page, reading)
    elif reading.parsed.is_noindex:
        frontier.close(page, Page.State.SKIPPED, Page.Reason.NOINDEX)
    elif (original := _original(run, page, reading.parsed)) is not None:
        answers.redirect(run, page, original, Page.Reason.CANONICAL)
    else:
        _store_html(run, page, reading, reading.parsed)


def _original(run: CrawlRun, page: Page, parsed: ParsedPage) -> str | None:
    """Return the URL that the page names as its original, unless following it would lose the text.

    That is: another site, the home page (a common mistake of templates), the page in another language, or a page
    that could not be read or itself points elsewhere.
    """
    goal = parsed.canonical_url
    if (
        goal is None
        or goal in {page.url, run.website.root_url, *parsed.alternates}
        or not Scope.of(run.website).covers(goal)
    ):
        return None
    known = Page.objects.filter(website=run.website, run=run, url=goal).first()
    is_lost = known is not None and known.state in {Page.State.FAILED, Page.State.SKIPPED}
    return None if is_lost else goal


def _store_html(run: CrawlRun, page: Page, reading: Reading, parsed: ParsedPage) -> None:
    text = f"{reading.title}\n{reading.content}"
    if parsed.is_login:
        frontier.close(page, Page.State.SKIPPED, Page.Reason.LOGIN)
    elif parsed.is_challenge:
        frontier.close(page, Page.State.SKIPPED, Page.Reason.CHALLENGE)
    elif parsed.needs_javascript:
        page.rendering = why_not_rendered(page)
        frontier.close(page, Page.State.SKIPPED, Page.Reason.NEEDS_JAVASCRIPT)
    elif not any(character.isalnum() for character in reading.content):
        frontier.close(page, Page.State.SKIPPED, Page.Reason.EMPTY)
    elif page.url != run.website.root_url and missing.is_like_missing_pages(run.missing, text, url=page.url):
        frontier.close(page, Page.State.FAILED, Page.Reason.SOFT_404)
    else:
        _store(page, reading)


def _store(page: Page, reading: Reading) -> None:
    """Hand the text to the knowledge, unless another page of the website has the same."""
    other = _hold_text(page, f"{reading.title}\n{reading.content}")
    if other is not None:
        frontier.close(page, Page.State.SKIPPED, Page.Reason.DUPLICATE, other.url, duplicate_of=other)
    else:
        _save(page, reading)


def _hold_text(page: Page, text: str) -> Page | None:
    """Make this page the holder of its text and return None, or return the page that holds it already."""
    text_hash = hashlib.sha256(text.encode()).hexdigest()
    try:
        with transaction.atomic():
            Page.objects.filter(pk=page.pk).update(text_hash=text_hash)
    except IntegrityError:
        return Page.objects.filter(website=page.website, text_hash=text_hash).first()
    page.text_hash = text_hash
    return None


def _save(page: Page, reading: Reading) -> None:
    with transaction.atomic():
        if page.holds().select_for_update(no_key=True).values("pk").first() is None:
            return  # stopped meanwhile, or taken over by another worker
        document = knowledge.store_page(
            tenant=page.tenant,
            url=page.url,
            title=reading.title,
            language=reading.language,
            content=reading.content,
            fetched_at=page.fetched_at or timezone.now(),
            rings=False,
        )
        frontier.close(page, Page.State.DONE, detail=reading.detail, document=document, duplicate_of=None)


def wake(run: CrawlRun) -> None:
    """Let a run that waits for its fetched pages go on; the sweeper would, a moment later."""
    with transaction.atomic():
        if CrawlRun.objects.active().filter(pk=run.pk, is_waiting=True).update(is_waiting=False):
            run.refresh_from_db()
            sending.send_run(run)
