"""A crawl by the workers that ship, from the order to its end."""

import subprocess
import time
from collections.abc import Iterable

from bench.world import World, stop
from crawl import services
from crawl.models import CrawlRun, Website


def crawl_whole(
    here: World, website: Website, workers: Iterable[subprocess.Popen[bytes]], *, at_most_seconds: float
) -> tuple[CrawlRun, float]:
    """Crawl the website and stop the workers; return the run and the seconds that it took."""
    begin = time.monotonic()
    run = services.start_crawl(website=website)
    ended = CrawlRun.objects.filter(pk=run.pk, finished_at__isnull=False)
    here.wait_for(ended.exists, "the crawl did not end", seconds=at_most_seconds, log="celery_worker")
    seconds = time.monotonic() - begin
    for process in workers:
        stop(process)
    run.refresh_from_db()
    return run, seconds
