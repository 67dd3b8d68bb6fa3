"""Send the messages of crawling. They only say that a row may be looked at; losing or repeating one harms nothing."""

from datetime import datetime, timedelta

from django.db.models import F
from django.utils import timezone

from core import enqueue
from crawl.models import CrawlRun, Page

RESEND_SECONDS = 30  # doubled with each message that nobody took, so that a long queue is not made longer
RESEND_MAX_DOUBLINGS = 6


def resend_at(sends: int) -> datetime:
    """Return when a message counts as lost that is now sent for the ``sends``-th time."""
    return timezone.now() + timedelta(seconds=RESEND_SECONDS * 2 ** min(sends, RESEND_MAX_DOUBLINGS))


def send_run(run: CrawlRun) -> None:
    """Send the run's next slice to the workers after the commit."""
    CrawlRun.objects.filter(pk=run.pk).update(send_at=resend_at(run.sends), sends=F("sends") + 1)
    _after_commit("crawl.crawl_website_task", run.tenant_id, run_id=str(run.pk), ticket=run.ticket)


def send_page(page: Page) -> None:
    """Send a fetched page to the workers after the commit."""
    Page.objects.filter(pk=page.pk).update(send_at=resend_at(page.sends), sends=F("sends") + 1)
    _after_commit("crawl.process_page_content", page.tenant_id, page_id=page.pk)


def _after_commit(name: str, tenant_id: object, **kwargs: object) -> None:
    enqueue.send(name, kwargs, tenant_id=tenant_id)  # by name: the tasks import this module
