"""How long a switch to another version of a large tenant's knowledge takes, and who waits for it meanwhile.

``script/bench versions [--chunks N]`` fills a tenant, asks for the next version, has it copied and both vector indexes
built, switches and rolls back. Meanwhile one caller searches and another stores pages; a search or a page that waits
shows what the switch locks. At the end no page that was stored may be missing from the version it was rolled back to.
"""

import argparse
import statistics
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import numpy as np
from django.conf import settings
from django.db import connection
from django.utils import timezone

from bench import figures
from bench import search_material as material
from bench.world import World
from crawl import versions
from knowledge import large_tenants, search
from knowledge.models import Document, SearchModel, SyncItem, VersionCopy
from knowledge.services import store_page
from knowledge.tasks import copy_version_task
from tenants.models import Tenant

QUICK_CHUNKS = 5_000
QUESTION = "w000100 w001000 w002000"


def main(here: World) -> None:
    options = _options()
    print(f"versions on {figures.machine()}\n")
    maker = material.Maker(seed=7)
    tenant = material.fill(maker, tenants=0, chunks=0, large_chunks=options.chunks).large
    SearchModel.objects.create(tenant=tenant, model=material.MODEL)
    settings.SEARCH_EXACT_MAX_CHUNKS = min(settings.SEARCH_EXACT_MAX_CHUNKS, options.chunks - 1)
    rows: dict[str, dict[str, float]] = {}

    def measure(name: str, step: Callable[[], Any]) -> None:
        rows[name] = _measured(step, tenant, maker)
        print(f"{name}: {rows[name]}", flush=True)

    with mock.patch("knowledge.embeddings.model_id", return_value=material.MODEL):
        measure("alone", lambda: time.sleep(2))
        measure("prepare", lambda: versions.prepare(tenant, recrawl=False))
        measure("copy", _copy)
        if not options.no_index:
            large_tenants.maintain_indexes()
        measure("switch", lambda: _switch(tenant))
        measure("rollback", lambda: versions.roll_back(tenant))
    missing = _missing(tenant)
    names = list(rows["switch"])
    print(figures.table(["", *names], [[step, *(row[name] for name in names)] for step, row in rows.items()]))
    print(figures.last_line("versions", chunks=options.chunks, missing=missing, **rows))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="script/bench versions")
    parser.add_argument("--chunks", type=int, default=200_000)
    parser.add_argument("--no-index", action="store_true", help="build no vector index: searches compare all vectors")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_CHUNKS} chunks")
    options = parser.parse_args()
    if options.quick:
        options.chunks = QUICK_CHUNKS
    return options


def _copy() -> None:
    """Do what a worker does with the messages of the copy."""
    copy = VersionCopy.objects.get()
    while not copy_version_task(copy_id=str(copy.pk)):
        pass


def _switch(tenant: Tenant) -> None:
    SyncItem.objects.all().delete()  # of the pages stored meanwhile: there is no worker here to make their vectors
    versions.switch(tenant)


def _missing(tenant: Tenant) -> int:
    """Return how many pages one of the two versions has and the other has not."""
    urls = [set(Document.objects.for_tenant(row).values_list("url", flat=True)) for row in tenant.knowledge_versions()]
    return len(urls[0] ^ urls[1])


def _measured(step: Callable[[], Any], tenant: Tenant, maker: material.Maker) -> dict[str, float]:
    """Return the step's seconds, and the longest search and storing of a page meanwhile, and the median of these."""
    vector = maker.near(maker.vectors(np.zeros(1, dtype="i8"))[0])

    def ask() -> None:
        search.search(tenant=Tenant.objects.get(pk=tenant.pk), query=QUESTION)

    def store() -> None:
        known = Tenant.objects.get(pk=tenant.pk)
        url = f"https://bench.example/new/{uuid.uuid4()}"
        now = timezone.now()
        store_page(tenant=known, url=url, title="", language="en", content="Words.", fetched_at=now, rings=False)

    with (
        mock.patch("knowledge.embeddings.embed_query", return_value=vector),
        _repeating(ask) as asked,
        _repeating(store) as stored,
    ):
        time.sleep(0.5)
        tenant.refresh_from_db()
        began = time.perf_counter()
        step()
        seconds = time.perf_counter() - began
    return {
        "seconds": round(seconds, 2),
        "search_max_ms": max(asked),
        "store_p50_ms": round(statistics.median(stored[1:] or stored), 1),
        "store_max_ms": max(stored),
    }


@contextmanager
def _repeating(work: Callable[[], None]) -> Iterator[list[float]]:
    """Do the work again and again in a thread until the block ends; yields the milliseconds that each took."""
    took: list[float] = [0.0]
    over = threading.Event()

    def repeat() -> None:
        try:
            while not over.wait(0.02):
                began = time.perf_counter()
                work()
                took.append(round(1000 * (time.perf_counter() - began), 1))
        finally:
            connection.close()

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield took
    finally:
        over.set()
        thread.join()
