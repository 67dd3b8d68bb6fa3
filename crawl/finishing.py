"""How a run ends, and whose turn comes next."""

from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone
from django.utils.translation import override

from core.states import State
from crawl import sending
from crawl.models import ACTIVE, CrawlRun, Page, PageBody
from tenants.models import Tenant

_LONG_PAUSE_SECONDS = 60


class CannotGoOnError(Exception):
    """The run as a whole has failed; the text is for the tenant."""


def finish(run: CrawlRun, *, error: str = "") -> None:
    """End a run that this worker holds; without an error it is done if a single page was read."""
    error = error or _explain_nothing_read(run)
    end(run, run.holds(), error)


def end(run: CrawlRun, mine: QuerySet[CrawlRun], error: str, **values: object) -> bool:
    """Close the run if it is active and among ``mine``, set its open pages aside, start the tenant's next run."""
    with transaction.atomic():
        won = mine.filter(pk=run.pk, state__in=ACTIVE).update(
            state=State.FAILED if error else State.DONE,
            error=error,
            finished_at=timezone.now(),
            not_before=None,
            send_at=None,
            is_waiting=False,
            **CrawlRun.UNCLAIMED,
            **values,
        )
        if won:
            _set_aside_open_pages(run)
            start_waiting_runs(run.tenant)
    return bool(won)


def _set_aside_open_pages(run: CrawlRun) -> None:
    open_pages = Page.objects.filter(run=run, state__in=[Page.State.QUEUED, Page.State.FETCHED])
    # Pages before bodies, as everywhere: a worker that stores a body at this moment would be a deadlock otherwise.
    ids = list(open_pages.order_by("pk").select_for_update(no_key=True).values_list("pk", flat=True))
    PageBody.objects.filter(page__in=ids).delete()
    Page.objects.filter(pk__in=ids).update(
        state=Page.State.SKIPPED, reason=Page.Reason.CANCELLED, send_at=None, etag="", body_hash="", **Page.UNCLAIMED
    )


def _explain_nothing_read(run: CrawlRun) -> str:
    pages = Page.objects.filter(run=run)
    if run.is_partial or pages.filter(state=Page.State.DONE).exists():
        return ""
    root = pages.filter(url=run.website.root_url).first()
    if root is None or not root.reason:
        return "No page with text was found."
    where = f" ({root.detail or root.http_status})" if root.detail or root.http_status else ""
    with override(settings.LANGUAGE_CODE):  # it is kept, and whoever ends the run may read another language
        return f"No page could be read. The first page {Page.Reason(root.reason).label}{where}."


def start_waiting_runs(tenant: Tenant) -> int:
    """Send the tenant's oldest waiting runs, as far as its share of the workers allows; return how many."""
    with transaction.atomic():
        Tenant.objects.select_for_update(no_key=True).get(pk=tenant.pk)  # two at once would both see a free place
        active = CrawlRun.objects.active().for_tenant(tenant)
        now = timezone.now()
        resting = Q(not_before__gt=now + timedelta(seconds=_LONG_PAUSE_SECONDS))
        taken = active.exclude(send_at=None).exclude(resting).count()
        room = max(settings.CRAWL_RUNS_PER_TENANT - taken, 0)
        waiting = list(active.filter(state=State.QUEUED, send_at=None).order_by("created_at")[:room])
        for run in waiting:
            sending.send_run(run)
    return len(waiting)
