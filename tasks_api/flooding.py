"""Real background work in bulk, for proofs and benchmarks: fetched pages whose text is to be taken out and embedded."""

import uuid
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta

from celery import signals
from django.db import transaction
from django.utils import timezone

from core.celery import app
from core.enqueue import headers_for
from core.states import State
from crawl.models import CrawlRun, Page, PageBody, Website
from crawl.tasks import process_page_content
from tasks_api import ledger
from tasks_api.models import TaskRun
from tenants.models import Tenant

NEVER = timedelta(days=1)  # the sweeper shall not send these rows a second time


@transaction.atomic
def add_crawl(*, tenant: Tenant, root_url: str, pages: Mapping[str, str], goes_on: bool) -> list[Page]:
    """Put the tenant in the middle of a crawl that has fetched these pages (URL: HTML); nothing is sent.

    With ``goes_on`` the crawl fetches more once they are processed.
    """
    later = timezone.now() + NEVER
    website = Website.objects.create(tenant=tenant, root_url=root_url)
    run = CrawlRun.objects.create(
        tenant=tenant,
        website=website,
        state=State.RUNNING,
        stage=CrawlRun.Stage.PAGES,
        robots={root_url.rstrip("/"): ""},
        is_waiting=goes_on,
        send_at=later,
    )
    shared = {"tenant": tenant, "website": website, "run": run, "state": Page.State.FETCHED, "send_at": later}
    rows = Page.objects.bulk_create(Page(url=url, depth=1, **shared) for url in pages)
    PageBody.objects.bulk_create(
        PageBody(
            tenant=tenant, page=row, content_type="text/html; charset=utf-8", compressed=zlib.compress(html.encode())
        )
        for row, html in zip(rows, pages.values(), strict=True)
    )
    return rows


def send(pages: Sequence[Page]) -> None:
    """Publish the processing of these pages in bulk: the ledger in one statement, the messages over one connection."""
    ids = [uuid.uuid4() for _ in pages]
    name = process_page_content.name
    queue = app.amqp.router.route({}, name)["queue"].name
    TaskRun.objects.bulk_create(
        TaskRun(id=task_id, tenant_id=page.tenant_id, name=name, queue=queue, arguments={"page_id": page.pk})
        for task_id, page in zip(ids, pages, strict=True)
    )
    with _ledger_written(), app.producer_pool.acquire(block=True) as producer:
        for task_id, page in zip(ids, pages, strict=True):
            process_page_content.apply_async(
                kwargs={"page_id": page.pk},
                task_id=str(task_id),
                headers=headers_for(page.tenant_id),
                producer=producer,
            )


@contextmanager
def _ledger_written() -> Iterator[None]:
    """Keep the ledger from writing each row by itself: they are there already."""
    signals.before_task_publish.disconnect(ledger.published)
    try:
        yield
    finally:
        signals.before_task_publish.connect(ledger.published, weak=False)
