"""Repair what messages and workers lost. Trusts only Postgres; runs every second in the sweeper process."""

from collections import defaultdict

from django.db import transaction
from django.db.models.functions import Now

from core.jobs import CLAIMS_MAX, has_forgotten
from core.postgres.standing import AnyRow
from core.states import OPEN_STATES, State
from crawl import finishing, frontier, scheduling, sending, uploading
from crawl.models import CrawlRun, CrawlRunQuerySet, Page, Upload, Website
from tenants.models import Tenant

LIMIT = 100
_work = AnyRow(
    CrawlRun.objects.active,
    Page.objects.due,
    lambda: Website.objects.filter(next_crawl_at__lte=Now()),
    lambda: Upload.objects.filter(state__in=OPEN_STATES),
)


def sweep() -> int:
    """Send due runs and pages, close those that stopped several workers, start runs that wait or are due by the clock.

    Returns how many.
    """
    if has_forgotten("crawl"):
        for jobs in (CrawlRun.objects, Page.objects):  # that nobody took them was not their queue's length
            jobs.free().filter(sends__gt=0).update(send_at=Now(), sends=0)
        Upload.objects.filter(state=State.QUEUED).update(sent_at=None)
    if not _work.exists():
        return 0
    return _sweep_runs() + _sweep_pages() + _sweep_waiting() + scheduling.start_due() + _sweep_uploads()


def _sweep_runs() -> int:
    with transaction.atomic():
        runs = list(CrawlRun.objects.due().select_for_update(skip_locked=True, of=["self"]).order_by("send_at")[:LIMIT])
        for run in runs:
            if run.attempts >= CrawlRunQuerySet.CLAIMS_MAX:
                lost = CrawlRun.objects.filter(ticket=run.ticket)
                finishing.end(run, lost, "The crawl stopped its workers several times and was given up.")
            else:
                sending.send_run(run)
    return len(runs)


def _sweep_pages() -> int:
    with transaction.atomic():
        pages = list(Page.objects.due().select_for_update(skip_locked=True, of=["self"]).order_by("send_at")[:LIMIT])
        alive: dict[object, list[Page]] = defaultdict(list)
        for page in pages:
            if page.attempts >= CLAIMS_MAX:
                frontier.close(page, Page.State.FAILED, Page.Reason.CRASHED)
            else:
                alive[page.run_id].append(page)
        for of_run in alive.values():
            sending.send_pages(of_run)
    return len(pages)


def _sweep_waiting() -> int:
    waiting = CrawlRun.objects.filter(state=State.QUEUED, send_at=None).values("tenant")
    return sum(finishing.start_waiting_runs(tenant) for tenant in Tenant.objects.filter(pk__in=waiting)[:LIMIT])


def _sweep_uploads() -> int:
    return uploading.repair(limit=LIMIT) + sending.send_uploads()
