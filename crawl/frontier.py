"""The URLs of a run: those waiting to be fetched, and how a page leaves the list."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Count, F, Min, Q
from django.utils import timezone

from crawl import sending
from crawl.models import CrawlRun, Page, PageBody, PageQuerySet
from crawl.urls import Scope
from knowledge import services as knowledge

VARIANTS_PER_PATH = 50  # pages that differ in their query alone: calendars, filters


def seed(run: CrawlRun) -> None:
    """Start with the root and with every URL known from earlier crawls, so that each is looked at again."""
    known = Page.objects.filter(website=run.website).order_by("depth", "id")[: run.website.max_pages]
    with transaction.atomic():
        requeue(run, list(known.values_list("pk", flat=True)))
        add_urls(run, [run.website.root_url], depth=0)


def requeue(run: CrawlRun, page_ids: list[int]) -> None:
    """Put known pages on the run's list, except those that it has had."""
    Page.objects.filter(pk__in=page_ids).exclude(run=run).update(
        run=run, state=Page.State.QUEUED, reason="", detail="", attempts=0, not_before=None, http_status=None
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
    counts: dict[str, int] = {}
    kept = []
    for url in urls:
        path, mark, _query = url.partition("?")
        if mark:
            if path not in counts:
                counts[path] = Page.objects.filter(run=run, url__startswith=f"{path}?").count()
            counts[path] += 1
            if counts[path] > VARIANTS_PER_PATH:
                continue
        kept.append(url)
    return kept


def next_page(run: CrawlRun) -> Page | None:
    """Return the page to be fetched now, nearest to the root first."""
    now = timezone.now()
    due = Page.objects.filter(Q(not_before=None) | Q(not_before__lte=now), run=run, state=Page.State.QUEUED)
    return due.order_by("depth", "id").first()


def next_retry_at(run: CrawlRun) -> datetime | None:
    """Return when the next page that failed for now may be tried again; None if nothing is left to fetch."""
    queued = Page.objects.filter(run=run, state=Page.State.QUEUED)
    return queued.aggregate(at=Min("not_before"))["at"]


def unprocessed_count(run: CrawlRun) -> int:
    return Page.objects.filter(run=run, state=Page.State.FETCHED).count()


def counts(run: CrawlRun) -> dict[str, int]:
    rows = Page.objects.filter(run=run).values("state").annotate(count=Count("pk")).order_by()
    return {row["state"]: row["count"] for row in rows}


def retry_later(page: Page, seconds: float) -> None:
    page.not_before = timezone.now() + timedelta(seconds=seconds)
    page.save(update_fields=["not_before"])


def close(page: Page, state: str, reason: str = "", detail: str = "", **values: object) -> None:
    """Take the page off the list with its state and reason.

    What was known from a page that is now skipped, or is gone, leaves the knowledge; a page that only failed this
    time keeps it.
    """
    forgets = state == Page.State.SKIPPED or reason == Page.Reason.NOT_FOUND
    if forgets and reason != Page.Reason.CANCELLED:
        _forget(page)
        values |= {"document": None, "text_hash": "", "etag": "", "last_modified": "", "body_hash": ""}
    elif state == Page.State.FAILED:
        values |= {"etag": "", "last_modified": "", "body_hash": ""}  # next time it is read again in any case
    if reason in {Page.Reason.UNREADABLE, Page.Reason.CRASHED}:
        values |= {"text_hash": ""}
    with transaction.atomic():
        if state != Page.State.DONE and page.run_id is not None:
            _reconsider(Page.objects.filter(run=page.run_id, reason=Page.Reason.CANONICAL, detail=page.url))
        Page.objects.filter(pk=page.pk).update(
            **Page.UNCLAIMED, state=state, reason=reason, detail=detail[:2000], send_at=None, not_before=None, **values
        )
        PageBody.objects.filter(page=page).delete()


def _forget(page: Page) -> None:
    """Remove the page's document; pages that were set aside as its duplicates get their chance."""
    if page.document_id is not None:
        knowledge.remove_page(tenant=page.tenant, url=page.url)
    if page.text_hash:
        _reconsider(Page.objects.filter(run=page.run_id, duplicate_of=page))


def _reconsider(pages: PageQuerySet) -> None:
    """Fetch again those that were set aside in favour of a page whose text is not kept after all."""
    pages.update(state=Page.State.QUEUED, reason="", detail="", attempts=0, duplicate_of=None, etag="", body_hash="")


def store_body(page: Page, *, body: PageBody, **values: object) -> None:
    """Keep what was fetched and send the page to be processed."""
    with transaction.atomic():
        Page.objects.filter(pk=page.pk).update(
            **Page.UNCLAIMED, state=Page.State.FETCHED, attempts=0, sends=0, **values
        )
        PageBody.objects.filter(page=page).delete()
        body.save(force_insert=True)
        page.sends = 0
        sending.send_page(page)
