"""Keeps background work waiting: adds whole crawls whenever fewer tasks wait in the queue than asked for.

``python -m bench.backlog_process PORT QUEUE`` runs it; the benchmark sets the level in Redis. Nothing in it waits for
a slow site, so all of it is work for the processor: fetched pages whose text is to be taken out, documents whose
vectors are to be made, and, when a run's pages are done, the crawl itself, which fetches more of them over HTTP. Rows
and messages are made in bulk: ten thousand tasks take some twenty seconds.
"""

import time
import uuid
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from celery import signals
from django.db import transaction
from django.utils import timezone

from bench import site, words
from core.celery import app
from core.enqueue import headers_for
from core.redis import client
from core.states import State
from crawl.models import CrawlRun, Page, PageBody, Website
from crawl.tasks import process_page_content
from knowledge.services import store_page
from tasks_api import ledger
from tasks_api.models import TaskRun
from tenants.models import Tenant
from tenants.services import create_tenant

LEVEL = "bench:level"
LOOK_EVERY_SECONDS = 0.1
PAGES_PER_RUN = 36  # with the next, as many as a crawl lets wait (crawl.slices.UNPROCESSED_MAX)
DOCUMENTS_PER_RUN = 4  # as many as a tenant may have on the queue (KNOWLEDGE_SYNC_WINDOW)
NEVER = timedelta(days=1)  # the sweeper shall not send these rows a second time


def keep(port: int, queue: str) -> None:
    """Top the queue up until this process is stopped."""
    number = Website.objects.count()
    while True:
        missing = int(client().get(LEVEL) or 0) - client().llen(queue)
        for _ in range(-(-missing // (PAGES_PER_RUN + DOCUMENTS_PER_RUN)) if missing > 0 else 0):
            add_crawl(number, port, queue)
            number += 1
        time.sleep(LOOK_EVERY_SECONDS)


def add_crawl(number: int, port: int, queue: str) -> None:
    """Add a tenant in the middle of a crawl: some pages fetched, some stored and not yet embedded, all on the queue."""
    tenant = create_tenant(slug=f"crawled-{number}")
    root = f"http://{site.address(number, port)}/"
    first = number * site.MADE_PAGES
    for page_number in range(first, first + DOCUMENTS_PER_RUN):
        store_page(
            tenant=tenant,
            url=f"{root}made/{page_number}",
            title=words.title(page_number),
            language=words.language(page_number),
            content=site.markdown(page_number),
            fetched_at=timezone.now(),
        )
    numbers = range(first + DOCUMENTS_PER_RUN, first + DOCUMENTS_PER_RUN + PAGES_PER_RUN)
    _ring(_fetched_pages(tenant, root, numbers), queue)


@transaction.atomic
def _fetched_pages(tenant: Tenant, root: str, numbers: range) -> list[Page]:
    later = timezone.now() + NEVER
    website = Website.objects.create(tenant=tenant, root_url=root)
    run = CrawlRun.objects.create(
        tenant=tenant,
        website=website,
        state=State.RUNNING,
        stage=CrawlRun.Stage.PAGES,
        robots={root.rstrip("/"): ""},
        is_waiting=True,
        send_at=later,
    )
    shared = {"tenant": tenant, "website": website, "run": run, "state": Page.State.FETCHED, "send_at": later}
    pages = Page.objects.bulk_create(Page(url=f"{root}made/{number}", depth=1, **shared) for number in numbers)
    bodies = [zlib.compress(site.page(number).encode()) for number in numbers]
    PageBody.objects.bulk_create(
        PageBody(tenant=tenant, page=page, content_type="text/html; charset=utf-8", compressed=body)
        for page, body in zip(pages, bodies, strict=True)
    )
    return pages


def _ring(pages: list[Page], queue: str) -> None:
    ids = [uuid.uuid4() for _ in pages]
    TaskRun.objects.bulk_create(
        TaskRun(
            id=task_id,
            tenant=page.tenant,
            name=process_page_content.name,
            queue=queue,
            arguments={"page_id": page.pk},
        )
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
