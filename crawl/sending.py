"""Send the messages of crawling. They only say that a row may be looked at; losing or repeating one harms nothing."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from django.db.models import F
from django.utils import timezone

from core import enqueue, turns
from crawl import uploading
from crawl.models import CrawlRun, Page

RESEND_SECONDS = 10  # doubled with each message that nobody took, so that a long queue is not made longer
RESEND_MAX_DOUBLINGS = 6
UPLOADS_MAX = 100
BATCH_PAGES = 8  # pages of one message: about a quarter of a second, ten times what the message itself costs


def resend_at(sends: int) -> datetime:
    """Return when a message counts as lost that is now sent for the ``sends``-th time."""
    return timezone.now() + timedelta(seconds=RESEND_SECONDS * 2 ** min(sends, RESEND_MAX_DOUBLINGS))


def send_run(run: CrawlRun) -> None:
    """Send the run's next slice to the workers after the commit."""
    CrawlRun.objects.filter(pk=run.pk).update(send_at=resend_at(run.sends), sends=F("sends") + 1)
    _after_commit("crawl.crawl_website_task", run.tenant_id, run_id=str(run.pk), ticket=run.ticket)


def send_pages(pages: Sequence[Page]) -> None:
    """Send fetched pages of one tenant to the workers after the commit; one that a worker died of goes alone."""
    Page.objects.filter(pk__in=[page.pk for page in pages]).update(
        send_at=resend_at(max((page.sends for page in pages), default=0)), sends=F("sends") + 1
    )
    fresh = [page.pk for page in pages if not page.attempts]
    batches = [fresh[start : start + BATCH_PAGES] for start in range(0, len(fresh), BATCH_PAGES)]
    for page_ids in [*batches, *([page.pk] for page in pages if page.attempts)]:
        _after_commit("crawl.process_page_content", pages[0].tenant_id, page_ids=page_ids)


def _after_commit(name: str, tenant_id: object, **kwargs: object) -> None:
    # by name: the tasks import this module
    enqueue.send(name, kwargs, tenant_id=tenant_id, level=turns.level_of(tenant_id))


def send_uploads(limit: int = UPLOADS_MAX) -> int:
    """Send the files that their tenants' windows have room for; an unreachable broker leaves them due."""
    uploads = uploading.take_due(limit=limit)
    for sent, upload in enumerate(uploads):
        kwargs = {"upload_id": str(upload.pk)}
        level = turns.level_of(upload.tenant_id)
        if not enqueue.publish("crawl.read_upload_task", kwargs, tenant_id=upload.tenant_id, level=level):
            uploading.give_back(uploads[sent:])
            return sent
    return len(uploads)
