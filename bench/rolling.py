"""What users see while every service is restarted: ``script/bench rolling [--quick]``.

Questions are asked over HTTP at a fixed rate, most read as they stream, some with one request that waits; a website is
crawled and webhooks are sent. Meanwhile one service after the other is stopped as Compose and script/up stop it, and
started again. A stream that breaks may be taken up with ``Last-Event-ID``; any other break is a failed request.
"""

import argparse
import asyncio
import json
import signal
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field

from django.conf import settings
from django.db import connection

from bench import figures, history, material, resuming
from bench.crash import drain
from bench.killing import Revived, is_alive, revived_postgres, revived_redis
from bench.resuming import Read
from bench.world import World, stop
from chat.models import Message
from core import processes, redis
from core.embedded import ports
from core.states import State
from crawl import services as crawling
from crawl.models import CrawlRun, Page
from knowledge.models import Chunk
from tenants.models import WebhookDelivery, WebhookEvent
from tenants.services import create_endpoint

PER_SECOND = 5.0
QUESTIONS_MAX = 2000
PAGES, PAGE_SECONDS = 60, 0.4
SETTLING_SECONDS = 3.0  # before the first restart, between two, after the last
ANSWER_SECONDS = 2.0  # who asked so long before a restart, or after it, may have felt it
VECTORS_SECONDS = 120.0
WEBHOOKS_SECONDS = 90.0
TOO_MANY = "429"
REDIS, POSTGRES = "redis", "postgres"
NAMES = (*processes.BY_NAME, REDIS, POSTGRES)
QUICK = ("web", "celery_ai", REDIS, POSTGRES)


@dataclass
class Restart:
    """One restart: when the service was told to end, and when it was well again."""

    name: str
    began_at: float
    well_at: float = 0.0


@dataclass
class Restarter:
    """Restarts services in turn, each once the one before is well again."""

    here: World
    running: dict[str, subprocess.Popen[bytes]]
    environ: dict[str, str]
    redis: Revived
    postgres: Revived
    done: list[Restart] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def run(self, names: list[str]) -> None:
        try:
            for name in names:
                time.sleep(SETTLING_SECONDS)
                restart = Restart(name, time.monotonic())
                self._restart(name)
                restart.well_at = time.monotonic()
                self.done.append(restart)
                print(f"{name}: well again after {restart.well_at - restart.began_at:.1f} s", flush=True)
            time.sleep(SETTLING_SECONDS)
        finally:
            connection.close()
            self.over.set()

    def leave(self) -> None:
        """End everything, Redis and Postgres last."""
        for process in self.running.values():
            stop(process)
        self.redis.leave()
        self.postgres.leave()

    def _restart(self, name: str) -> None:
        if name == REDIS:
            self._replace(self.redis, signal.SIGTERM, redis.is_reachable)
        elif name == POSTGRES:
            self._replace(self.postgres, signal.SIGINT, _has_database)
        elif name == "web":
            self._replace_serving(self.running[name])
        else:
            self.running[name].terminate()
            self.running[name].wait(processes.BY_NAME[name].stop_grace_seconds)
            (self.running[name],) = self.here.start_services(name, **self.environ)

    def _replace(self, server: Revived, number: signal.Signals, is_back: Callable[[], bool]) -> None:
        pid = server.end(number)
        self.here.wait_for(lambda: not is_alive(pid) and is_back(), "the server does not come back")

    def _replace_serving(self, web: "subprocess.Popen[bytes]") -> None:
        """Have the web service replace the process that serves; the port stays open (core/web)."""
        before = set(figures.descendants(web.pid)) - {web.pid}
        web.send_signal(signal.SIGHUP)
        self.here.wait_for(lambda: not any(map(is_alive, before)), "the old process goes on", seconds=90)


def _has_database() -> bool:
    connection.close()
    connection.ensure_connection()
    return True


def main(here: World) -> None:
    """Run the load and the restarts, wait until all is quiet, and print what users saw."""
    names = parse()
    machine = figures.machine()
    tenant, key = material.make_tenant()
    history.begin()
    site, receiver = start_surroundings(here)
    create_endpoint(tenant=tenant, url=f"{receiver}/hooks")
    restarter, address = start_product(here)
    try:
        warm(here, address, key)
        run = crawling.start_crawl(website=crawling.add_website(tenant=tenant, url=f"{site}/"))
        connection.close()
        reads = load(restarter, names, address, key)
        drain(run)
        report(machine, reads, restarter.done, run, received(receiver))
    finally:
        restarter.leave()


def load(restarter: Restarter, names: list[str], address: str, key: str) -> list[Read]:
    """Ask while the services are restarted, and return what the readers saw."""
    restarting = threading.Thread(target=restarter.run, args=(names,))
    restarting.start()
    asking = resuming.ask_all(
        address, key, count=QUESTIONS_MAX, per_second=PER_SECOND, over=restarter.over, some_wait=True
    )
    reads = asyncio.run(asking)
    restarting.join()
    return reads


def parse() -> list[str]:
    parser = argparse.ArgumentParser(prog="script/bench rolling", description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{', '.join(QUICK)} only")
    parser.add_argument("--services", nargs="+", choices=NAMES, help="in this order")
    options = parser.parse_args()
    return options.services or list(QUICK if options.quick else NAMES)


def start_surroundings(here: World) -> tuple[str, str]:
    """Start a website and a receiver of webhooks; return their addresses."""
    _server, site = here.start_server(
        "site", "bench.site:application", BENCH_SITE_PAGES=str(PAGES), BENCH_SITE_LATENCY_SECONDS=str(PAGE_SECONDS)
    )
    _server, receiver = here.start_server("receiver", "bench.receiver:application", RECEIVER_FAILING_SHARE="0")
    settings.OUTBOUND_ALLOWED_HOSTS = [address.removeprefix("http://") for address in (site, receiver)]
    return site, receiver


def start_product(here: World) -> tuple[Restarter, str]:
    """Start all that ships and a model that streams for two seconds; return what restarts them, and web's address."""
    _server, model = here.start_server("llm", "bench.fake_llm:application", FAKE_LLM_TOKENS="40")
    port, flower_port = ports.find_free(), ports.find_free()
    (here.folder / "var" / "flower").mkdir()
    environ = {
        "UVICORN_PORT": str(port), "FLOWER_PORT": str(flower_port), "FLOWER_ADDRESS": "127.0.0.1",
        "FLOWER_BASIC_AUTH": "admin:bench", "FLOWER_DB": str(here.folder / "var" / "flower" / "flower"),
        "LLM_BASE_URL": f"{model}/v1", "LLM_API_KEY": "none", "LLM_MODEL": "fake",
        "API_RATE_PER_KEY": "1000000/minute", "LIMIT_END_USER_DAILY": "0",
        "OUTBOUND_ALLOWED_HOSTS": ",".join(settings.OUTBOUND_ALLOWED_HOSTS),
    }  # fmt: skip
    running = dict(zip(processes.BY_NAME, here.start_services(*processes.BY_NAME, **environ), strict=True))
    restarter = Restarter(here, running, environ, revived_redis(here), revived_postgres(here))
    return restarter, f"http://127.0.0.1:{port}"


def warm(here: World, address: str, key: str) -> None:
    """Have each worker load its model, and the pages get their vectors."""
    bare = Chunk.objects.filter(embedding=None)
    here.wait_for(lambda: not bare.exists(), "the pages got no vectors", seconds=VECTORS_SECONDS)
    asyncio.run(resuming.ask_all(address, key, count=12, per_second=PER_SECOND))


def received(receiver: str) -> dict[str, int]:
    """Return how often each event reached the receiver, once none is on its way any more."""
    deadline = time.monotonic() + WEBHOOKS_SECONDS
    while WebhookDelivery.objects.exclude(state=State.DONE).exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    with urllib.request.urlopen(receiver, timeout=30) as response:  # noqa: S310 -- loopback
        accepted: dict[str, int] = json.load(response)["accepted"]
    return accepted


def report(machine: str, reads: list[Read], done: list[Restart], run: CrawlRun, accepted: dict[str, int]) -> None:
    """Print what users saw, by the service that was restarted when they asked."""
    verdict = history.replay(history.read())
    rows = {str(message.pk): message for message in Message.objects.all()}
    answered = [read for read in reads if read.message_id and rows[read.message_id].state == State.DONE]
    failed = [refusal for read in reads for refusal in read.refused if refusal != TOO_MANY]
    twice = {job[1] for job, count in verdict.closed.items() if count > 1 and job[0] == history.MESSAGES}
    events = {str(pk) for pk in WebhookEvent.objects.values_list("pk", flat=True)}
    waits = {restart.name: figures.spread(waits_during(restart, reads)) for restart in done}
    run.refresh_from_db()
    result = {
        "asked": len(reads),
        "failed_requests": len(failed),
        "refused_as_too_many": sum(read.refused.count(TOO_MANY) for read in reads),
        "lost": len(reads) - len(answered),
        "answered_twice": len(twice | verdict.changed_after_end),
        "impossible_rows": len(verdict.impossible),
        "began_again": sum(rows[read.message_id].attempt > 1 for read in answered),
        "streams_resumed": sum(read.breaks > 0 and read.ends > 0 for read in reads),
        "streams_without_end": sum(not read.ends for read in reads),
        "readers_with_another_text": sum(rows[r.message_id].answer != r.answer or r.text != r.answer for r in answered),
        "pages_missing": PAGES + 1 - Page.objects.filter(run=run, state=Page.State.DONE).count(),
        "webhooks_lost": len(events - set(accepted)),
        "webhooks_twice": sum(count > 1 for count in accepted.values()),
        "first_word_s": {name: {"p50": spread["p50"], "max": spread["max"]} for name, spread in waits.items()},
    }
    print(f"{machine}\n\n{figures.table(('figure', 'value'), list(result.items())[:-1])}\n")
    header = ("restarted", "away and starting, s", "streams around it", "first word p50 s", "p99 s", "max s")
    print(figures.table(header, [_row(restart, waits[restart.name]) for restart in done]))
    complain(failed, [rows[read.message_id] for read in reads if read.message_id and read not in answered], verdict)
    print(figures.last_line("rolling", **result))


def waits_during(restart: Restart, reads: list[Read]) -> list[float]:
    """Return the waits for a first word of those who asked around the time when the service was away or starting."""
    begin, end = restart.began_at - ANSWER_SECONDS, restart.well_at + ANSWER_SECONDS
    here = [read for read in reads if begin <= read.due_at <= end]
    return [read.first_word_s for read in here if read.first_word_s is not None]


def _row(restart: Restart, spread: dict[str, float | int]) -> list[object]:
    away = f"{restart.well_at - restart.began_at:.1f}"
    return [restart.name, away, spread["n"], spread["p50"], spread["p99"], spread["max"]]


def complain(failed: list[str], unanswered: list[Message], verdict: history.Verdict) -> None:
    """Show the first of what should not be."""
    print(*(f"failed request: {refusal}" for refusal in failed[:10]), sep="\n")
    print(*(f"not answered: {row.state} {row.error_code} {row.attempt}" for row in unanswered[:10]), sep="\n")
    print(*(f"impossible: {line}" for line in verdict.impossible[:10]), sep="\n")
    late = WebhookDelivery.objects.exclude(state=State.DONE).values_list("state", "attempts", "next_attempt_at")
    print(*(f"not delivered: {row}" for row in late[:10]), sep="\n")
