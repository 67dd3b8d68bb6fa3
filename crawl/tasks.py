"""The two tasks of crawling. No rules live here: a task claims its row, calls one function, and records a bug.

Their hard limit ends a worker that hangs, and with it the thread that renews its lease.
"""

import structlog
from celery import shared_task
from celery.exceptions import SoftTimeLimitExceeded

from core.jobs import kept
from crawl import finishing, frontier, processing, slices
from crawl.models import CrawlRun, Page

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
    try:
        with kept(run):
            slices.run_slice(run)
    except SoftTimeLimitExceeded:
        raise  # as if the worker had died: the sweeper sends the run again, and gives it up after several
    except Exception:
        log.exception("crawl_slice_failed", run_id=run_id)
        finishing.finish(run, error="The crawl met an internal error.")
        raise
    return True


@shared_task(
    name="crawl.process_page_content",
    soft_time_limit=SOFT_TIME_LIMIT_SECONDS,
    time_limit=TIME_LIMIT_SECONDS,
)
def process_page_content(*, page_id: int) -> bool:
    """Take the text out of one fetched page; False if it is not free."""
    page = Page.objects.claim(page_id)
    if page is None:
        return False
    try:
        with kept(page):
            processing.process(page)
    except Exception:
        log.exception("page_processing_failed", page_id=page_id)
        frontier.close(page, Page.State.FAILED, Page.Reason.UNREADABLE)
        if page.run is not None:
            processing.wake(page.run)
        raise
    return True
