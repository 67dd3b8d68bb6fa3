"""The tasks of crawling. No rules live here: a task claims its row, calls one function, and records a bug.

Their hard limit ends a worker that hangs, and with it the thread that renews its lease.
"""

from collections.abc import Sequence
from functools import partial

import structlog
from celery import shared_task
from celery.exceptions import SoftTimeLimitExceeded
from django.conf import settings

from core.jobs import closed_on_bug, kept
from core.turns import Turn
from crawl import finishing, frontier, processing, sending, slices, uploading
from crawl.models import CrawlRun, Page, Upload

log = structlog.get_logger(__name__)

SOFT_TIME_LIMIT_SECONDS = 45
TIME_LIMIT_SECONDS = 50


@shared_task(
    name="crawl.crawl_website_task",
    soft_time_limit=SOFT_TIME_LIMIT_SECONDS,
    time_limit=TIME_LIMIT_SECONDS,
)
def crawl_website_task(*, run_id: str, ticket: int | None = None) -> bool:
    """Work on one slice of the run, which sends its own next slice; False if the run is not free."""
    run = CrawlRun.objects.claim(run_id, ticket)
    if run is None:
        return False
    with closed_on_bug(partial(_close_run, run)), kept(run):
        slices.run_slice(run)
    return True


def _close_run(run: CrawlRun, exc: Exception) -> None:
    if isinstance(exc, SoftTimeLimitExceeded):
        return  # as if the worker had died: the sweeper sends the run again, and gives it up after several
    log.exception("crawl_slice_failed", run_id=str(run.pk))
    finishing.finish(run, error="The crawl met an internal error.")


@shared_task(
    name="crawl.process_page_content",
    soft_time_limit=SOFT_TIME_LIMIT_SECONDS,
    time_limit=TIME_LIMIT_SECONDS,
)
def process_page_content(*, page_ids: Sequence[int] = (), page_id: int | None = None) -> bool:
    """Take the text out of fetched pages of one run; False if none of them is free. ``page_id`` names a single one."""
    ids = [page_id] if page_id is not None else list(page_ids)
    pages = Page.objects.filter(pk__in=ids).claim_batch(len(ids)) if len(ids) > 1 else _claim_one(ids)
    if not pages:
        return False
    with kept(pages[0]):
        left, bugs = processing.process(pages, Turn(settings.CRAWL_SLICE_SECONDS, tenant_id=pages[0].tenant_id))
    frontier.give_back(left)
    if pages[0].run is not None:
        processing.wake(pages[0].run)
    if bugs:
        raise bugs[0]
    return True


def _claim_one(page_ids: list[int]) -> list[Page]:
    page = Page.objects.claim(page_ids[0]) if page_ids else None
    return [page] if page is not None else []


@shared_task(
    name="crawl.read_upload_task",
    soft_time_limit=SOFT_TIME_LIMIT_SECONDS,
    time_limit=TIME_LIMIT_SECONDS,
)
def read_upload_task(*, upload_id: str) -> bool:
    """Take the text out of a file that was handed over; False if it is not free."""
    upload = Upload.objects.claim(upload_id)
    if upload is None:
        return False
    try:
        with closed_on_bug(partial(_close_upload, upload)), kept(upload):
            uploading.read(upload)
    finally:
        sending.send_uploads()
    return True


def _close_upload(upload: Upload, exc: Exception) -> None:
    """Close it after a bug or the soft time limit: it must not wait for its lease."""
    uploading.fail(upload, "crashed", f"{type(exc).__name__}: {exc}")
