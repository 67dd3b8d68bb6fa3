"""Pages and passages per second: ``script/bench crawl [--site DIR …] [--quick]``.

One website of about a thousand pages on this machine is crawled by the product as it ships (fetched, its text taken
out, cut, stored and searchable by words), then by Scrapy with trafilatura, which fetches the same site, takes the text
out with the same options and writes it to a file. Politeness is off on both sides: the product knows the site as the
operator's own, Scrapy has no delay. Vectors wait until both are done; then the product makes them for a while, and the
bare model embeds the very same passages, in as many processes as there are cores.
"""

import argparse
import json
import multiprocessing
import os
import subprocess
import time
from concurrent.futures import ProcessPoolExecutor

from django.conf import settings

from bench import bare_model, figures
from bench.crawling import crawl_whole
from bench.world import BASE_DIR, PYTHON, World, stop
from crawl import services
from crawl.models import Page
from knowledge import embeddings, indexing
from knowledge.models import Chunk
from tenants.services import create_tenant

CRAWL_SECONDS = 600
FIRST_VECTORS_SECONDS = 120


def main(here: World) -> None:
    """Measure both halves of the pipeline, each beside what it is compared with."""
    options = parse()
    machine = figures.machine()
    pages = 100 if options.quick else options.pages
    _server, address = here.start_server(
        "site", "bench.large_site:application", BENCH_PAGES=str(pages), BENCH_FOLDERS=":".join(options.site)
    )
    environ = {"OUTBOUND_ALLOWED_HOSTS": address.removeprefix("http://")}
    ours, stages = crawl(here, address, environ)
    print(ours_row("Pasokh", ours), stages, flush=True)
    theirs = scrapy(here, address)
    print(ours_row("Scrapy", theirs), flush=True)
    passages, bare = embed(here, environ, 15 if options.quick else options.embed_seconds)
    print(f"\n{machine}\n")
    print(
        figures.table(
            ("what", "pages", "seconds", "pages a second"), [ours_row("Pasokh", ours), ours_row("Scrapy", theirs)]
        )
    )
    print(f"\nPages by state: {stages}\n")
    print(
        figures.table(("what", "passages a second"), [("Pasokh", f"{passages:.1f}"), ("the bare model", f"{bare:.1f}")])
    )
    ours_rate, their_rate = ours[0] / ours[1], theirs[0] / theirs[1]
    print(
        figures.last_line(
            "crawl",
            pages_per_s=round(ours_rate, 1),
            scrapy_pages_per_s=round(their_rate, 1),
            ratio=round(ours_rate / their_rate, 2),
            passages_per_s=round(passages, 1),
            bare_model_passages_per_s=round(bare, 1),
            embed_ratio=round(passages / bare, 2),
        )
    )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="script/bench crawl", description=__doc__)
    parser.add_argument("--site", action="append", default=[], metavar="DIR", help="a folder of real HTML pages")
    parser.add_argument("--pages", type=int, default=1000, help="made-up pages, where no folder is given")
    parser.add_argument("--embed-seconds", type=int, default=40)
    parser.add_argument("--quick", action="store_true", help="about half a minute: 100 pages")
    return parser.parse_args()


def crawl(here: World, address: str, environ: dict[str, str]) -> tuple[tuple[int, float], dict[str, int]]:
    """Return how many pages were fetched whole and the seconds from the order to the end, and the pages by state."""
    started = here.start_services("celery_worker", "sweeper", KNOWLEDGE_SYNC_WINDOW="0", **environ)
    settings.OUTBOUND_ALLOWED_HOSTS = [address.removeprefix("http://")]
    website = services.add_website(tenant=create_tenant(slug="bench"), url=f"{address}/", max_pages=5000)
    run, seconds = crawl_whole(here, website, started, at_most_seconds=CRAWL_SECONDS)
    if run.error:
        raise RuntimeError(run.error)
    return (Page.objects.filter(http_status=200).count(), seconds), services.progress(run).counts


def scrapy(here: World, address: str) -> tuple[int, float]:
    """Return Scrapy's pages and seconds, by its own statistics: its start as a process does not count."""
    command = [PYTHON, "-m", "bench.scrapy_crawl", f"{address}/", str(here.folder / "scrapy.jsonl")]
    done = subprocess.run(command, cwd=BASE_DIR, capture_output=True, text=True, check=True, timeout=CRAWL_SECONDS)
    figures_seen = json.loads(done.stdout.splitlines()[-1])
    return figures_seen["pages"], figures_seen["seconds"]


def embed(here: World, environ: dict[str, str], seconds: float) -> tuple[float, float]:
    """Return the product's and the bare model's passages per second, over the same passages."""
    ready = Chunk.objects.exclude(embedding=None)
    started = here.start_services("celery_worker", "sweeper", **environ)
    here.wait_for(ready.exists, "no vectors were made", seconds=FIRST_VECTORS_SECONDS, log="celery_worker")
    before, begin = set(ready.values_list("pk", flat=True)), time.monotonic()
    while time.monotonic() < begin + seconds and Chunk.objects.filter(embedding=None).exists():
        time.sleep(0.2)
    made = set(ready.values_list("pk", flat=True)) - before
    ours = len(made) / (time.monotonic() - begin)
    for process in started:
        stop(process)
    return ours, embed_bare(sorted(made))


def embed_bare(chunk_ids: list[int]) -> float:
    """Embed these passages with nothing but the model, one process per core; return passages per second."""
    texts = [
        indexing.passage_text(title=chunk.document.title, heading_path=chunk.heading_path, content=chunk.content)
        for chunk in Chunk.objects.filter(pk__in=chunk_ids)
        .order_by("pk")
        .select_related("document")
        .defer(*Chunk.LARGE)
    ]
    size = embeddings.BATCH_MAX
    batches = [texts[start : start + size] for start in range(0, len(texts), size)]
    cores = os.cpu_count() or 1
    with ProcessPoolExecutor(cores, mp_context=multiprocessing.get_context("spawn")) as pool:
        list(pool.map(bare_model.embed, [texts[:1]] * cores * 4))  # each process has loaded the model
        begin = time.monotonic()
        list(pool.map(bare_model.embed, batches))
        return len(texts) / (time.monotonic() - begin)


def ours_row(name: str, figure: tuple[int, float]) -> tuple[object, ...]:
    pages, seconds = figure
    return name, pages, f"{seconds:.1f}", f"{pages / seconds:.1f}"
