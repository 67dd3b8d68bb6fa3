"""What one tenant has from another's ten thousand pages: ``script/bench fairness [--quick]``.

Tenant B works alone first: a crawl of twenty pages, their vectors, twenty events to its webhook, questions. Then tenant
A starts two crawls of five thousand pages each, which keep its vectors busy as well, has events of its own, and
asks fifty questions a second; B does all the same once more, as a tenant of its own: turns remember who has just had
much. Everything is as it ships. The sites answer after 0.2 s
and are the operator's own, so that no politeness hides who waits for whom; times count from when B asked for it.
"""

import argparse
import subprocess
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from bench import figures, load, model_server, site
from bench.load_generator import Order
from bench.world import PYTHON, World, answers
from chat.models import Message
from core.embedded import ports
from core.states import State
from crawl import services as crawls
from crawl.models import CrawlRun, Page
from knowledge.models import Chunk
from tenants import services as tenants
from tenants.models import Tenant, WebhookDelivery

PAGES_A, SITES_A, PAGES_B = 5000, 2, 20
EVENTS_A, EVENTS_B = 2000, 20
WEBHOOK_TIMES = 5  # twenty events take a quarter of a second: the median says more
FLOOD_PER_SECOND, CALM_PER_SECOND = 50.0, 2.0
QUEUED_SECONDS, WORK_SECONDS = 180, 300
CRAWL, VECTORS, WEBHOOKS = "crawl", "vectors", "webhooks"


class Sites:
    """Websites of two sizes, each at an address of its own."""

    def __init__(self, here: World) -> None:
        self.large, self.small = ports.find_free(), ports.find_free()
        for port, pages in ((self.large, PAGES_A), (self.small, PAGES_B - 1)):
            server = [PYTHON, "-m", "uvicorn", "bench.site:application", "--host", "0.0.0.0",  # noqa: S104
                      "--port", str(port), "--log-level", "warning"]  # fmt: skip
            process = here.start(f"site-{pages}", server, BENCH_SITE_PAGES=str(pages))
            here.wait_for(lambda: answers(f"http://127.0.0.1:{port}"), "no site", process=process)  # noqa: B023
        hosts = [site.address(number, port) for number in range(10) for port in (self.large, self.small)]
        settings.OUTBOUND_ALLOWED_HOSTS = [*hosts]

    def start_crawl(self, tenant: Tenant, number: int, *, is_large: bool) -> CrawlRun:
        url = f"http://{site.address(number, self.large if is_large else self.small)}/"
        website = crawls.add_website(tenant=tenant, url=url, max_pages=PAGES_A + 1)
        return crawls.start_crawl(website=website)


def main(here: World) -> None:
    """Measure B alone and beside A."""
    is_quick = parse().quick
    machine = figures.machine()
    sites = Sites(here)
    _receiver, receiver = here.start_server("receiver", "bench.receiver:application", RECEIVER_FAILING_SHARE="0")
    settings.OUTBOUND_ALLOWED_HOSTS.append(receiver.removeprefix("http://"))
    address = start_product(here)
    a, warm, before, b = (tenants.create_tenant(slug=slug) for slug in ("a", "warm", "before", "b"))
    for tenant in (a, warm, before, b):
        tenants.create_endpoint(tenant=tenant, url=f"{receiver}/{tenant.slug}")
    keys = {tenant: tenants.create_api_key(tenant=tenant, name="bench")[1] for tenant in (a, b)}
    seconds = 15 if is_quick else 30
    measure(here, sites, warm, number=0)  # every worker has loaded its model
    alone = measure(here, sites, before, number=1)
    calm = ask(here, address, keys[b], b, seconds)
    backlog = burden(here, sites, a)
    shared = measure(here, sites, b, number=2)
    flood = start_flood(here, address, keys[a], seconds)
    busy = ask(here, address, keys[b], b, seconds)
    refused = sum(sample.is_refused for sample in load.collect(here, *flood))
    print(f"\n{machine}; {backlog} pages of A queued; {refused} of A's questions refused\n")
    report(alone, shared, calm, busy, backlog)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="script/bench fairness", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer questions; about a minute")
    return parser.parse_args()


def start_product(here: World) -> str:
    """Start every service, with a model that answers in 5 to 10 seconds."""
    model = ports.find_free()
    process = here.start("model", [PYTHON, "-m", "bench.model_server", str(model), "60"])
    here.wait_for(lambda: answers(f"http://127.0.0.1:{model}"), "the model does not answer", process=process)
    port = ports.find_free()
    here.start_services(
        "web", "celery_ai", "celery_worker", "sweeper",
        UVICORN_PORT=str(port), LLM_BASE_URL=f"http://127.0.0.1:{model}/v1", LLM_MODEL=model_server.MODEL,
        OUTBOUND_ALLOWED_HOSTS=",".join(settings.OUTBOUND_ALLOWED_HOSTS), API_RATE_PER_KEY="1000000/minute",
        LIMIT_END_USER_DAILY="0", CHAT_ANSWERS_PER_TENANT="400", CHAT_WAITING_MAX="32",
    )  # fmt: skip
    return f"http://127.0.0.1:{port}"


def measure(here: World, sites: Sites, tenant: Tenant, *, number: int) -> dict[str, float]:
    """Return the seconds that the tenant's events took, then those of its crawl and of the crawl's vectors."""
    sent = []
    for turn in range(WEBHOOK_TIMES):
        begin = partial(emit, tenant, EVENTS_B, f"{number}-{turn}")
        sent.append(timed(here, begin, lambda: not undelivered(tenant)))
    took = {WEBHOOKS: figures.median(sent)}
    run = sites.start_crawl(tenant, number, is_large=False)
    ended = CrawlRun.objects.filter(pk=run.pk, finished_at__isnull=False)
    bare = Chunk.objects.filter(tenant=tenant, embedding=None)
    took[VECTORS] = timed(here, lambda: None, lambda: ended.exists() and not bare.exists())
    run.refresh_from_db()
    done = Page.objects.filter(run=run, state=Page.State.DONE).count()
    if run.error or done != PAGES_B:
        raise RuntimeError(f"{done} of {PAGES_B} pages were read. {run.error}")
    took[CRAWL] = (run.finished_at - run.created_at).total_seconds()
    print("B's seconds:", {what: round(value, 1) for what, value in took.items()}, flush=True)
    return took


def timed(here: World, begin: Callable[[], Any], is_over: Callable[[], bool]) -> float:
    began = time.monotonic()
    begin()
    here.wait_for(is_over, "B's work did not end", seconds=WORK_SECONDS, log="celery_worker")
    return time.monotonic() - began


def emit(tenant: Tenant, count: int, name: str) -> None:
    with transaction.atomic():
        for event in range(count):
            payload = {"question": f"سؤال {event}", "answer": "پاسخ " * 40}
            tenants.emit(tenant=tenant, type="query.answered", key=f"{name}-{event}", payload=payload)


def undelivered(tenant: Tenant) -> bool:
    open_ones = WebhookDelivery.objects.filter(tenant=tenant).exclude(state=State.DONE)
    return open_ones.exists()


def burden(here: World, sites: Sites, tenant: Tenant) -> int:
    """Start A's work, and return how many of its pages are queued once all are known and vectors are being made."""
    for number in range(SITES_A):
        sites.start_crawl(tenant, 5 + number, is_large=True)
    emit(tenant, EVENTS_A, "burden")
    pages = Page.objects.filter(tenant=tenant)
    here.wait_for(lambda: pages.count() >= SITES_A * PAGES_A, "A's pages were not found", seconds=QUEUED_SECONDS)
    vectors = Chunk.objects.filter(tenant=tenant).exclude(embedding=None)
    here.wait_for(vectors.exists, "none of A's vectors is being made", seconds=QUEUED_SECONDS)
    return pages.filter(state=Page.State.QUEUED).count()


def order(address: str, key: str, per_second: float, seconds: float) -> Order:
    return Order(address=address, keys=[key], count=round(per_second * seconds), per_second=per_second,
                 timeout_seconds=60)  # fmt: skip


def start_flood(here: World, address: str, key: str, seconds: float) -> tuple[subprocess.Popen[bytes], Order, str]:
    """Let A ask, from now until B has asked its last."""
    flood = order(address, key, FLOOD_PER_SECOND, seconds)
    return load.start(here, flood, "flood"), flood, "flood"


def ask(here: World, address: str, key: str, tenant: Tenant, seconds: float) -> list[float]:
    """Ask in B's name and return how many milliseconds each of its questions waited for a worker."""
    begin = timezone.now()
    load.run(here, order(address, key, CALM_PER_SECOND, seconds), "calm")
    asked = Message.objects.filter(conversation__tenant=tenant, created_at__gte=begin, started_at__isnull=False)
    return [
        1000 * (started - created).total_seconds() for created, started in asked.values_list("created_at", "started_at")
    ]


def report(
    alone: dict[str, float], shared: dict[str, float], calm: list[float], busy: list[float], backlog: int
) -> None:
    rows = [
        (what, f"{alone[what]:.1f}", f"{shared[what]:.1f}", f"{shared[what] / alone[what]:.2f}")
        for what in (CRAWL, VECTORS, WEBHOOKS)
    ]
    print(figures.table(("B's", "alone s", "beside A s", "times"), rows))
    waits = [("alone", *figures.spread(calm).values()), ("while A asks 50 a second", *figures.spread(busy).values())]
    print()
    print(figures.table(("B's chat", "questions", "wait p50 ms", "p95", "p99", "max"), waits))
    print(
        figures.last_line(
            "fairness",
            backlog_pages=backlog,
            b_alone_s=round(alone[CRAWL], 2),
            b_shared_s=round(shared[CRAWL], 2),
            ratio=round(shared[CRAWL] / alone[CRAWL], 2),
            vectors_ratio=round(shared[VECTORS] / alone[VECTORS], 2),
            webhooks_ratio=round(shared[WEBHOOKS] / alone[WEBHOOKS], 2),
            chat_wait_alone_ms=figures.spread(calm),
            chat_wait_ms=figures.spread(busy),
        )
    )
