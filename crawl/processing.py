"""Take the text out of a fetched page and hand it to the knowledge."""

import hashlib
import zlib

from django.db import IntegrityError, transaction
from django.utils import timezone

from crawl import answers, extraction, frontier, sending
from crawl.extraction import ParsedPage
from crawl.models import CrawlRun, Page
from crawl.urls import Scope
from knowledge import services as knowledge

ATTEMPTS_MAX = 3
WAKE_BELOW = 10  # unprocessed pages at which a waiting run goes on fetching


def process(page: Page) -> None:
    """Process a claimed page: close its row with a reason, or store its text; then wake the run if it waits."""
    run = page.run
    if run is None or run.is_finished:
        frontier.close(page, Page.State.SKIPPED, Page.Reason.CANCELLED)
        return
    _process(run, page)
    wake(run)


def _process(run: CrawlRun, page: Page) -> None:
    text = extraction.decode(zlib.decompress(page.body.compressed), page.body.content_type)
    parsed = extraction.parse(text, url=page.url, robots_tag=page.body.robots_tag)
    if parsed is None:
        frontier.close(page, Page.State.SKIPPED, Page.Reason.EMPTY)
        return
    if parsed.refresh_url is not None and parsed.refresh_url != page.url:
        answers.redirect(run, page, parsed.refresh_url)
        return
    if not run.is_partial:
        frontier.add_urls(run, parsed.links, depth=page.depth + 1)
    original = _original(run, page, parsed)
    if parsed.is_noindex:
        frontier.close(page, Page.State.SKIPPED, Page.Reason.NOINDEX)
    elif original is not None:
        answers.redirect(run, page, original, Page.Reason.CANONICAL)
    else:
        _store(page, parsed)


def _original(run: CrawlRun, page: Page, parsed: ParsedPage) -> str | None:
    """Return the URL that the page names as its original, unless following it would lose the text.

    That is: another site, the home page (a common mistake of templates), or a page that could not be read or
    itself points elsewhere.
    """
    goal = parsed.canonical_url
    if goal is None or goal in {page.url, run.website.root_url} or not Scope.of(run.website).covers(goal):
        return None
    known = Page.objects.filter(website=run.website, run=run, url=goal).first()
    is_lost = known is not None and known.state in {Page.State.FAILED, Page.State.SKIPPED}
    return None if is_lost else goal


def _store(page: Page, parsed: ParsedPage) -> None:
    content = extraction.extract(parsed).content
    if parsed.is_login:
        frontier.close(page, Page.State.SKIPPED, Page.Reason.LOGIN)
    elif not any(character.isalnum() for character in content):
        frontier.close(page, Page.State.SKIPPED, Page.Reason.EMPTY)
    elif (other := _hold_text(page, f"{parsed.title}\n{content}")) is not None:
        frontier.close(page, Page.State.SKIPPED, Page.Reason.DUPLICATE, other.url, duplicate_of=other)
    else:
        _save(page, parsed, content)


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


def _save(page: Page, parsed: ParsedPage, content: str) -> None:
    with transaction.atomic():
        if page.holds().select_for_update(no_key=True).first() is None:
            return  # stopped meanwhile, or taken over by another worker
        document = knowledge.store_page(
            tenant=page.tenant,
            url=page.url,
            title=parsed.title,
            language=parsed.language,
            content=content,
            fetched_at=page.fetched_at or timezone.now(),
        )
        frontier.close(page, Page.State.DONE, document=document, duplicate_of=None)


def wake(run: CrawlRun) -> None:
    """Let a run that waits for its fetched pages go on; the sweeper would, a moment later."""
    left = frontier.unprocessed_count(run)
    if left not in {0, WAKE_BELOW}:
        return
    with transaction.atomic():
        if CrawlRun.objects.active().filter(pk=run.pk, is_waiting=True).update(is_waiting=False):
            run.refresh_from_db()
            sending.send_run(run)
