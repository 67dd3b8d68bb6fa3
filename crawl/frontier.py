"""The URLs of a run: those waiting to be fetched, and how a page leaves the list."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import takewhile

from django.db import transaction
from django.db.models import Count, F, Min, Q
from django.utils import timezone

from crawl import sending
from crawl.models import CrawlRun, Page, PageBody, PageQuerySet
from crawl.urls import DATED, Scope, trap_of
from knowledge import services as knowledge

UNSENT_SECONDS = 300
LOOKS_LIKE_A_TRAP = Q(url__contains="?") | Q(url__regex=DATED)
_UNSAID = {"reason": "", "detail": "", "rendering": ""}
_UNREAD = {"etag": "", "last_modified": "", "body_hash": ""}
ELSEWHERE = {Page.Reason.DUPLICATE, Page.Reason.CANONICAL, Page.Reason.REDIRECT}  # its text stands at another URL
VARIANTS_PER_PATH = 50  # pages that differ in their query or in a date alone: calendars, filters


def seed(run: CrawlRun) -> None:
    """Start with the root and with every URL known from earlier crawls, so that each is looked at again."""
    known = Page.objects.filter(website=run.website).order_by("depth", "id")[: run.website.max_pages]
    with transaction.atomic():
        requeue(run, list(known.values_list("pk", flat=True)))
        add_urls(run, [run.website.root_url], depth=0)


def requeue(run: CrawlRun, page_ids: list[int]) -> None:
    """Put known pages on the run's list, except those that it has had."""
    Page.objects.filter(pk__in=page_ids).exclude(run=run).update(
        run=run, state=Page.State.QUEUED, attempts=0, not_before=None, http_status=None, **_UNSAID
    )


def add_urls(run: CrawlRun, urls: Iterable[str], *, depth: int) -> int:
    """Put canonical URLs of the website on the run's list, once each; return how many are new to this run.

    URLs outside the website, too deep, or beyond the limits are left out.
    """
    website, scope = run.website, Scope.of(run.website)
    wanted = [url for url in dict.fromkeys(urls) if scope.covers(url)]
    if depth > website.max_depth or not wanted:
        return 0
    with transaction.atomic():
        CrawlRun.objects.select_for_update(no_key=True).get(pk=run.pk)  # two pages at once keep to one limit
        seen = dict(Page.objects.filter(website=website, url__in=wanted).values_list("url", "run_id"))
        missing = _without_endless_variants(run, [url for url in wanted if seen.get(url) != run.pk])
        room = website.max_pages - Page.objects.filter(run=run).exclude(state=Page.State.SKIPPED).count()
        chosen, dropped = missing[: max(room, 0)], missing[max(room, 0) :]
        if dropped:
            CrawlRun.objects.filter(pk=run.pk).update(dropped_count=F("dropped_count") + len(dropped))
        Page.objects.bulk_create(
            Page(tenant_id=run.tenant_id, website=website, run=run, url=url, depth=depth)
            for url in chosen
            if url not in seen
        )
        again = [url for url in chosen if url in seen]
        requeue(run, list(Page.objects.filter(website=website, url__in=again).values_list("pk", flat=True)))
    return len(chosen)


def _without_endless_variants(run: CrawlRun, urls: list[str]) -> list[str]:
    """Leave out all but the first of endlessly many alike, and count them on the run."""
    traps = {url: trap for url in urls if (trap := trap_of(url)) is not None}
    if not traps:
        return urls
    known = Page.objects.filter(LOOKS_LIKE_A_TRAP, run=run).values_list("url", flat=True)
    counts = Counter(map(trap_of, known))
    kept = []
    for url in urls:
        if trap := traps.get(url):
            counts[trap] += 1
            if counts[trap] > VARIANTS_PER_PATH:
                continue
        kept.append(url)
    if len(kept) < len(urls):
        CrawlRun.objects.filter(pk=run.pk).update(trapped_count=F("trapped_count") + len(urls) - len(kept))
    return kept


def next_pages(run: CrawlRun, limit: int) -> list[Page]:
    """Return the pages to be fetched now, nearest to the root first; one that was tried before comes alone."""
    now = timezone.now()
    due = Page.objects.filter(Q(not_before=None) | Q(not_before__lte=now), run=run, state=Page.State.QUEUED)
    pages = list(due.order_by("depth", "id")[:limit])
    return list(takewhile(lambda page: not page.attempts, pages)) or pages[:1]


def next_retry_at(run: CrawlRun) -> datetime | None:
    """Return when the next page that failed for now may be tried again; None if nothing is left to fetch."""
    queued = Page.objects.filter(run=run, state=Page.State.QUEUED)
    return queued.aggregate(at=Min("not_before"))["at"]


def unprocessed_count(run: CrawlRun) -> int:
    return Page.objects.filter(run=run, state=Page.State.FETCHED).count()


def counts(run: CrawlRun) -> dict[str, int]:
    rows = Page.objects.filter(run=run).values("state").annotate(count=Count("pk")).order_by()
    return {row["state"]: row["count"] for row in rows}


def count_attempts(pages: Sequence[Page]) -> None:
    """Note that these pages are about to be asked for."""
    for page in pages:
        page.attempts += 1
    Page.objects.filter(pk__in=[page.pk for page in pages]).update(attempts=F("attempts") + 1)


def uncount_attempts(pages: Sequence[Page]) -> None:
    """Undo `count_attempts` for pages that were not asked for after all."""
    if pages:
        Page.objects.filter(pk__in=[page.pk for page in pages]).update(attempts=F("attempts") - 1)


def give_back(pages: Sequence[Page]) -> None:
    """Leave pages that were claimed together, and not reached, to the next turn."""
    if pages:
        mine = Page.objects.filter(pk__in=[page.pk for page in pages], lease_token=pages[0].lease_token)
        mine.update(**Page.UNCLAIMED, attempts=0, send_at=timezone.now() + timedelta(seconds=UNSENT_SECONDS))


def retry_later(page: Page, seconds: float) -> None:
    page.not_before = timezone.now() + timedelta(seconds=seconds)
    page.save(update_fields=["not_before"])


def close(page: Page, state: str, reason: str = "", detail: str = "", **values: object) -> None:
    """Take the page off the list with its state and reason.

    What was known from a page that is now skipped, or is gone, leaves the knowledge; a page that only failed this
    time keeps it.
    """
    forgets = state == Page.State.SKIPPED or reason in {Page.Reason.NOT_FOUND, Page.Reason.SOFT_404}
    if forgets and reason != Page.Reason.CANCELLED:
        _forget(page, has_moved=reason in ELSEWHERE)
        values |= {"document": None, "text_hash": "", **_UNREAD}
    elif state == Page.State.FAILED or page.rendering:
        values |= _UNREAD  # next time it is read again in any case: what scripts show changes though the page does not
    if reason in {Page.Reason.UNREADABLE, Page.Reason.CRASHED}:
        values |= {"text_hash": ""}
    with transaction.atomic():
        if state != Page.State.DONE and page.run_id is not None:
            in_its_favour = Page.objects.filter(run=page.run_id, state=Page.State.SKIPPED, detail=page.url)
            _reconsider(in_its_favour.filter(reason=Page.Reason.CANONICAL))
        Page.objects.filter(pk=page.pk).update(
            **Page.UNCLAIMED,
            state=state,
            reason=reason,
            detail=detail[:2000],
            rendering=page.rendering,
            send_at=None,
            not_before=None,
            **values,
        )
        if page.state == Page.State.FETCHED:
            PageBody.objects.filter(page=page).delete()


def _forget(page: Page, *, has_moved: bool) -> None:
    """Remove the page's document; pages that were set aside as its duplicates get their chance."""
    if page.document_id is not None:
        knowledge.remove_page(tenant=page.tenant, url=page.url, has_moved=has_moved)
    if page.text_hash:
        _reconsider(Page.objects.filter(run=page.run_id, duplicate_of=page))


def _reconsider(pages: PageQuerySet) -> None:
    """Fetch again those that were set aside in favour of a page whose text is not kept after all."""
    pages.update(state=Page.State.QUEUED, attempts=0, duplicate_of=None, **_UNSAID, **_UNREAD)


def store_bodies(bodies: Sequence[PageBody], *, asks_for_help: bool) -> None:
    """Keep what was fetched, with the columns set on each body's page; ask other workers to process it, or not.

    Without help the run's own slices do it; the sweeper asks for it only where they have not for long.
    """
    pages = [body.page for body in bodies]
    for page in pages:
        page.attempts = page.sends = 0
    with transaction.atomic():
        Page.objects.filter(pk__in=[page.pk for page in pages]).update(
            **Page.UNCLAIMED,
            state=Page.State.FETCHED,
            attempts=0,
            sends=0,
            fetched_at=timezone.now(),
            send_at=timezone.now() + timedelta(seconds=UNSENT_SECONDS),
        )
        Page.objects.bulk_update(pages, ["http_status", "body_hash", "etag", "last_modified"])
        PageBody.objects.filter(page__in=pages).delete()
        PageBody.objects.bulk_create(bodies)
        if asks_for_help:
            sending.send_pages(pages)
