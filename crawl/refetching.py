"""Reading single pages again because answers rest on them: a run of just those pages.

The wishes stand in ``knowledge.models.Refetch``. Such a run is a run like any other, with its slices, its turn and its
politeness; it reads no sitemap and follows no links. While a website is being crawled its wishes wait: most are
fulfilled by that.
"""

from collections import defaultdict

from django.db import IntegrityError, transaction
from django.db.models import F, QuerySet
from django.utils import timezone

from core.postgres.standing import AnyRow
from core.states import State
from crawl import finishing, frontier
from crawl.models import CrawlRun, Page, Website
from knowledge.models import Refetch

LIMIT = 500
_wishes = AnyRow(lambda: Refetch.objects.filter(taken_at=None))


def sweep() -> int:
    """Start a run for each website that is at rest and has pages to be read again; return how many pages."""
    if not _wishes.exists():
        return 0
    waiting = Refetch.objects.filter(taken_at=None)
    _take(Refetch.objects.filter(taken_at=None, document__fetched_at__gte=F("asked_at")))  # read meanwhile
    _take(Refetch.objects.filter(taken_at=None, document__pages=None))  # not from a website
    busy = CrawlRun.objects.active().values("website")
    pages = Page.objects.filter(document__in=waiting.values("document")).exclude(website__in=busy).order_by("pk")
    ids: dict[object, list[int]] = defaultdict(list)
    for website_id, page_id in pages.values_list("website", "pk")[:LIMIT]:
        ids[website_id].append(page_id)
    websites = Website.objects.select_related("tenant").in_bulk(list(ids))
    return sum(_start(websites[website_id], page_ids) for website_id, page_ids in ids.items() if website_id in websites)


def widen(website: Website) -> CrawlRun | None:
    """Make the website's active run of single pages one of the whole website, or return None if there is none.

    Its worker loses the lease, and the run begins again at robots.txt; the pages that were read stay read.
    """
    partial = CrawlRun.objects.active().filter(website=website, is_partial=True)
    run: CrawlRun | None = partial.select_for_update(no_key=True).first()
    if run is None:
        return None
    run.is_partial, run.state, run.stage = False, State.QUEUED, CrawlRun.Stage.ROBOTS
    run.lease_token = run.lease_until = run.not_before = run.send_at = None
    run.is_waiting = False
    run.save(
        update_fields=[
            "is_partial", "state", "stage", "lease_token", "lease_until", "not_before", "send_at", "is_waiting",
        ]
    )  # fmt: skip
    return run


def _start(website: Website, page_ids: list[int]) -> int:
    try:
        with transaction.atomic():
            run = CrawlRun.objects.create(
                tenant=website.tenant, website=website, is_partial=True, stage=CrawlRun.Stage.PAGES
            )
            frontier.requeue(run, page_ids)
            _take(Refetch.objects.filter(taken_at=None, document__pages__in=page_ids))
            finishing.start_waiting_runs(website.tenant)
    except IntegrityError:  # a crawl of the whole website was started meanwhile
        return 0
    return len(page_ids)


def _take(wishes: QuerySet[Refetch]) -> None:
    wishes.update(taken_at=timezone.now())
