"""Keeps background work waiting: adds whole crawls whenever fewer tasks wait in the queue than asked for.

``python -m bench.backlog_process PORT QUEUE`` keeps the level that the benchmark sets in Redis; with a level behind it,
it fills the queue up to that once. Nothing in it waits for
a slow site, so all of it is work for the processor: fetched pages whose text is to be taken out, documents whose
vectors are to be made, and, when a run's pages are done, the crawl itself, which fetches more of them over HTTP. Rows
and messages are made in bulk: ten thousand tasks take some twenty seconds.
"""

import time

from django.utils import timezone

from bench import site, words
from core import queues
from core.redis import client
from knowledge.services import store_page
from tasks_api import flooding
from tenants.services import create_tenant

LEVEL = "bench:level"
CRAWLS = "bench:crawls"  # how many there are; two processes may add some
LOOK_EVERY_SECONDS = 0.1
PAGES_PER_RUN = 36  # with the next, as many as a crawl lets wait (crawl.slices.UNPROCESSED_MAX)
DOCUMENTS_PER_RUN = 4  # as many as a tenant may have on the queue (KNOWLEDGE_SYNC_WINDOW)


def keep(port: int, queue: str) -> None:
    """Top the queue up until this process is stopped."""
    while True:
        fill(port, queue, int(client().get(LEVEL) or 0))
        time.sleep(LOOK_EVERY_SECONDS)


def fill(port: int, queue: str, level: int) -> None:
    """Add crawls until so many tasks wait."""
    while queues.length(client(), queue) < level:
        add_crawl(client().incr(CRAWLS), port)


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
