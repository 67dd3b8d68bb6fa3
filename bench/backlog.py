"""Keeps background work waiting: adds whole crawls whenever fewer tasks wait in the queue than asked for.

``python -m bench.backlog_process PORT QUEUE`` runs it; the benchmark sets the level in Redis. Nothing in it waits for
a slow site, so all of it is work for the processor: fetched pages whose text is to be taken out, documents whose
vectors are to be made, and, when a run's pages are done, the crawl itself, which fetches more of them over HTTP. Rows
and messages are made in bulk: ten thousand tasks take some twenty seconds.
"""

import time

from django.utils import timezone

from bench import site, words
from core.redis import client
from crawl.models import Website
from knowledge.services import store_page
from tasks_api import flooding
from tenants.services import create_tenant

LEVEL = "bench:level"
LOOK_EVERY_SECONDS = 0.1
PAGES_PER_RUN = 36  # with the next, as many as a crawl lets wait (crawl.slices.UNPROCESSED_MAX)
DOCUMENTS_PER_RUN = 4  # as many as a tenant may have on the queue (KNOWLEDGE_SYNC_WINDOW)


def keep(port: int, queue: str) -> None:
    """Top the queue up until this process is stopped."""
    number = Website.objects.count()
    while True:
        missing = int(client().get(LEVEL) or 0) - client().llen(queue)
        for _ in range(-(-missing // (PAGES_PER_RUN + DOCUMENTS_PER_RUN)) if missing > 0 else 0):
            add_crawl(number, port)
            number += 1
        time.sleep(LOOK_EVERY_SECONDS)


def add_crawl(number: int, port: int) -> None:
    """Add a tenant in the middle of a crawl: some pages fetched, some stored and not yet embedded, all on the queue."""
    tenant = create_tenant(slug=f"crawled-{number}")
    root = f"http://{site.address(number, port)}/"
    first = number * site.MADE_PAGES
    for page in range(first, first + DOCUMENTS_PER_RUN):
        store_page(
            tenant=tenant,
            url=f"{root}made/{page}",
            title=words.title(page),
            language=words.language(page),
            content=site.markdown(page),
            fetched_at=timezone.now(),
        )
    numbers = range(first + DOCUMENTS_PER_RUN, first + DOCUMENTS_PER_RUN + PAGES_PER_RUN)
    pages = {f"{root}made/{page}": site.page(page) for page in numbers}
    flooding.send(flooding.add_crawl(tenant=tenant, root_url=root, pages=pages, goes_on=True))
