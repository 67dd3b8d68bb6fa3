"""What is lost when everything is killed under load: ``script/bench crash [--quick]``.

Questions are asked over HTTP at a fixed rate and read as they stream, and a website is crawled, while workers, the
sweeper, Redis and Postgres are killed with ``kill -9`` at random moments and Redis is emptied. The verdict is read from
a history that triggers wrote (bench/history.py), from the rows, and from what the readers saw.
"""

import argparse
import asyncio
import os
import subprocess
import threading
import time
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db import connection

from bench import figures, history, material, resuming
from bench.killing import POSTGRES, REDIS, WIPE, WORKER, Killer, Revived, revived_postgres, revived_redis
from bench.resuming import Read
from bench.world import World, stop
from chat.models import Message
from core import processes
from core.embedded import ports
from core.states import OPEN_STATES
from crawl import services as crawling
from crawl.models import CrawlRun, Page
from knowledge.models import SyncItem

AFTER_SECONDS = 5.0  # questions are asked for so long after the last kill
STANDSTILL_SECONDS = 45.0  # what is open counts as lost once nothing has moved for so long
DRAIN_SECONDS = 300.0
LATE = timedelta(seconds=1)
SHOWN = 10
RECOVERY_MAX_SECONDS = 15.0
SERVICES = ("web", "celery_ai", "celery_worker", "sweeper")


@dataclass(frozen=True)
class Plan:
    """How many questions, pages and kills of each kind; how long between two kills."""

    questions: int
    pages: int
    kills: dict[str, int]
    gap_seconds: float = 4.0

    @property
    def seconds(self) -> float:
        return sum(self.kills.values()) * self.gap_seconds + AFTER_SECONDS


FULL = Plan(2000, 300, {WORKER: 50, REDIS: 10, WIPE: 5, POSTGRES: 5})
QUICK = Plan(120, 40, {WORKER: 8, REDIS: 1, WIPE: 1, POSTGRES: 1})


@dataclass
class Seen:
    """What there is to judge: who asked and read, what was killed, the crawl, and the history."""

    plan: Plan
    reads: list[Read]
    killer: Killer
    run: CrawlRun
    site: str
    drained_s: float
    verdict: history.Verdict


def main(here: World) -> None:
    """Run the load and the kills, wait until all is quiet, and print the verdict."""
    plan = parse()
    machine = figures.machine()
    tenant, key = material.make_tenant()
    history.begin()
    site = start_site(here, plan)
    started, address = start_product(here)
    killer = make_killer(here, started)
    run = crawling.start_crawl(website=crawling.add_website(tenant=tenant, url=f"http://{site}/"))
    connection.close()
    killing = threading.Thread(target=killer.run, args=(plan.kills, plan.gap_seconds))
    killing.start()
    per_second = plan.questions / plan.seconds
    reads = asyncio.run(resuming.ask_all(address, key, count=plan.questions, per_second=per_second))
    killing.join()
    drained = drain(run)
    verdict = history.replay(history.read())
    run.refresh_from_db()
    report(machine, Seen(plan, reads, killer, run, site, drained, verdict))
    killer.sweeper.leave()
    for process in started.values():
        stop(process)
    killer.redis.leave()
    killer.postgres.leave()


def parse() -> Plan:
    parser = argparse.ArgumentParser(prog="script/bench crash", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="11 kills and 120 questions")
    parser.add_argument("--questions", type=int)
    parser.add_argument("--pages", type=int)
    parser.add_argument("--gap", type=float, help="seconds between two kills")
    options = parser.parse_args()
    plan = QUICK if options.quick else FULL
    return Plan(
        options.questions or plan.questions, options.pages or plan.pages, plan.kills, options.gap or plan.gap_seconds
    )


def start_site(here: World, plan: Plan) -> str:
    """Start the website, slow enough that its crawl is under way while most is killed; return ``host:port``."""
    latency = min(0.6 * plan.seconds / plan.pages, 1.0)
    _server, address = here.start_server(
        "site", "bench.site:application", BENCH_SITE_PAGES=str(plan.pages), BENCH_SITE_LATENCY_SECONDS=f"{latency:.2f}"
    )
    site = address.removeprefix("http://")
    settings.OUTBOUND_ALLOWED_HOSTS = [site]
    os.environ["OUTBOUND_ALLOWED_HOSTS"] = site
    return site


def start_product(here: World, **environ: str) -> tuple[dict[str, subprocess.Popen[bytes]], str]:
    """Start what ships and a model that streams for two seconds; return the processes by name and web's address."""
    _server, model = here.start_server("llm", "bench.fake_llm:application", FAKE_LLM_TOKENS="40")
    port = ports.find_free()
    started = here.start_services(
        *SERVICES, UVICORN_PORT=str(port), LLM_BASE_URL=f"{model}/v1", LLM_API_KEY="none", LLM_MODEL="fake",
        API_RATE_PER_KEY="1000000/minute", LIMIT_END_USER_DAILY="0",
        **environ,
    )  # fmt: skip
    return dict(zip(SERVICES, started, strict=True)), f"http://127.0.0.1:{port}"


def make_killer(here: World, started: dict[str, subprocess.Popen[bytes]]) -> Killer:
    sweeper = Revived(here, "sweeper", processes.BY_NAME["sweeper"].command, started["sweeper"].pid)
    supervisors = {name: started[name].pid for name in ("celery_ai", "celery_worker")}
    return Killer(supervisors, sweeper, revived_redis(here), revived_postgres(here))


def drain(run: CrawlRun) -> float:
    """Wait while work is open and its amount still falls; return how long that took in seconds."""
    begin = moved = time.monotonic()
    left = still_open(run)
    while left and time.monotonic() < min(moved + STANDSTILL_SECONDS, begin + DRAIN_SECONDS):
        time.sleep(0.5)
        before, left = left, still_open(run)
        moved = time.monotonic() if left != before else moved
    return time.monotonic() - begin


def still_open(run: CrawlRun) -> int:
    return (
        Message.objects.filter(state__in=OPEN_STATES).count()
        + SyncItem.objects.filter(state__in=OPEN_STATES).count()
        + Page.objects.filter(run=run, state__in=["queued", "fetched"]).count()
        + CrawlRun.objects.active().count()
    )


def report(machine: str, seen: Seen) -> None:
    """Print the verdict and what speaks against it."""
    verdict, killer = seen.verdict, seen.killer
    accepted = {read.message_id for read in seen.reads if read.message_id}
    rows = {str(pk): (state, answer) for pk, state, answer in Message.objects.values_list("pk", "state", "answer")}
    lost = [pk for pk in accepted if rows.get(pk, ("missing", ""))[0] not in ("done", "failed")]
    failed = [pk for pk in accepted if rows.get(pk, ("", ""))[0] == "failed"]
    closed = [job for job, count in verdict.closed.items() if count > 1]
    twice = {job[1] for job in closed if job[0] == history.MESSAGES} | verdict.changed_after_end
    wanted = {f"http://{seen.site}/", *(f"http://{seen.site}/page/{number}" for number in range(seen.plan.pages))}
    done = set(Page.objects.filter(run=seen.run, state="done").values_list("url", flat=True))
    waits = history.recoveries(verdict, [at for at, _kind in killer.done], LATE)
    spread = figures.spread(waits)
    wrong = [read for read in seen.reads if read.message_id and rows.get(read.message_id, ("", None))[1] != read.answer]
    result = {
        "accepted": len(accepted),
        "lost": len(lost),
        "answered_twice": len(twice),
        "impossible_rows": len(verdict.impossible),
        "pages_missing": len(wanted - done),
        "pages_twice": sum(1 for job in closed if job[0] == history.PAGES),
        "worker_kills": killer.count(WORKER),
        "redis_kills": killer.count(REDIS),
        "redis_wipes": killer.count(WIPE),
        "postgres_kills": killer.count(POSTGRES),
        "recovery_s": {name: spread[name] for name in ("p50", "p99", "max")},
    }
    readers = {
        "questions not accepted in the end": len(seen.reads) - len(accepted),
        "refused tries of asking": sum(len(read.refused) for read in seen.reads),
        "answers that ended as failed": len(failed),
        "streams that broke and went on": sum(1 for read in seen.reads if read.breaks and read.ends),
        "readers who saw no end, or another text than the row's": len(wrong),
        "readers whose pieces did not add up before the end": sum(r.text != r.answer for r in seen.reads if r.ends),
        "jobs that another worker took over": len(verdict.cut),
        "crawl": f"{seen.run.state} {seen.run.error}",
        "drained after the last question, s": round(seen.drained_s, 1),
    }
    print(f"{machine}\n\n{figures.table(('figure', 'value'), (result | readers).items())}\n")
    complain(verdict, [*lost, *twice], wanted - done, killer, waits)
    print(figures.last_line("crash", **result))


def complain(
    verdict: history.Verdict, messages: list[str], pages: set[str], killer: Killer, waits: list[float]
) -> None:
    """Show the first of everything that should not be."""
    for title, lines in {
        "impossible": verdict.impossible,
        "lost or answered twice": messages,
        "pages missing": [
            f"{page.url} {page.state} {page.reason} {page.detail}" for page in Page.objects.filter(url__in=pages)
        ],
        "documents given up": list(SyncItem.objects.filter(state="failed").values_list("error", flat=True)),
        "questions given up": list(
            Message.objects.filter(state="failed").values_list("error_code", "attempt", "finished_at")
        ),
        "longest recoveries": [
            f"{kind} alive {alive_at:%H:%M:%S.%f}, taken {taken_at:%H:%M:%S.%f}"
            for kind, alive_at, taken_at in sorted(verdict.cut, key=lambda cut: cut[1] - cut[2])[:SHOWN]
        ],
    }.items():
        if lines:
            print(f"{title}:", *map(str, lines[:SHOWN]), sep="\n  ")
    if max(waits, default=0) > RECOVERY_MAX_SECONDS:
        print("kills:", *(f"{at:%H:%M:%S.%f} {kind}" for at, kind in killer.done), sep="\n  ")
