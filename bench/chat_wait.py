"""How long a chat waits while background tasks are queued: ``script/bench chat_wait [--quick]``.

First the product's own services, started with the commands that ship. Then the same web process and the same tasks on
one queue read by two workers, as it was before. The tasks are real work that keeps every core busy (`bench.backlog`),
and the number that waits is kept at the level for as long as questions are asked. Questions come at a fixed rate
whatever the workers do; the client's wait counts from when the question was due.
"""

import argparse
import asyncio
import subprocess
import time
from dataclasses import dataclass, replace

from django.utils import timezone

from bench import asking, backlog, figures, material, single_queue, site
from bench.world import PYTHON, World, stop
from chat.models import Message
from core import queues
from core.embedded import ports
from core.redis import client
from knowledge.models import Chunk
from tasks_api.models import TaskRun, TaskState

PER_SECOND = 4.0
FILL_SECONDS = 150
VECTORS_SECONDS = 120
SETTLE_SECONDS = 3.0  # every slot of the background worker is busy, and what filled the queue has come to rest
SITES = 1000
HEADER = ("tasks queued", "chats", "wait p50 ms", "p95 ms", "p99 ms", "max ms", "seen by the client p50 ms", "p99 ms",
          "queue as asked, min to max", "cores busy", "background tasks a second")  # fmt: skip


@dataclass(frozen=True)
class Plan:
    levels: tuple[int, ...]
    samples: int
    single_levels: tuple[int, ...]
    single_samples: int
    single_seconds: float


FULL = Plan((0, 10, 50, 100, 1000, 10_000), 120, (50, 1000), 6, 40)
QUICK = Plan((0, 100), 24, (50,), 2, 20)


@dataclass(frozen=True)
class Level:
    """What was measured while so many tasks waited."""

    samples: list[asking.Sample]
    busy_cores: float
    tasks_per_second: float


def main(here: World) -> None:
    """Measure both worlds and print the tables."""
    asked = parse()
    plan = QUICK if asked.quick else FULL
    if asked.levels:
        plan = replace(plan, levels=asked.levels, single_levels=())
    machine = figures.machine()
    _tenant, key = material.make_tenant()
    port = ports.find_free()
    here.start("site", [PYTHON, "-m", "uvicorn", "bench.site:application", "--host", "0.0.0.0",  # noqa: S104
                        "--port", str(port), "--log-level", "warning"],
               BENCH_SITE_LATENCY_SECONDS="0.02")  # fmt: skip
    environ = {
        "OUTBOUND_ALLOWED_HOSTS": ",".join(site.address(number, port) for number in range(SITES)),
        "CRAWL_HOST_GAP_SECONDS": "0.05",  # politeness would leave the processor idle
    }
    begin = time.monotonic()
    wait = three_queues(here, plan, port, environ, key)
    single = one_queue(here, plan, port, environ, key)
    print(f"\n{machine}; {PER_SECOND:g} chats a second; {time.monotonic() - begin:.0f} s in all\n")
    report(wait, single)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="script/bench chat_wait", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="half a minute: two levels, few questions")
    parser.add_argument("--levels", type=lambda text: tuple(int(level) for level in text.split(",")),
                        help="only these, such as 0,1000; without the single queue")  # fmt: skip
    return parser.parse_args()


def three_queues(here: World, plan: Plan, port: int, environ: dict[str, str], key: str) -> dict[int, Level]:
    """Return what was measured at each level, with the services as they ship."""
    address, processes = start_web(here, environ)
    processes += here.start_services("celery_ai", "celery_worker", "sweeper", **environ)
    bare = Chunk.objects.filter(embedding=None)
    here.wait_for(lambda: not bare.exists(), "the tenant's pages got no vectors", seconds=VECTORS_SECONDS)
    processes.append(start_backlog(here, port, queues.LOW_PRIORITY, environ))
    results = {}
    for level in plan.levels:
        fill(here, port, queues.LOW_PRIORITY, level, environ)
        results[level] = measure(address, key, plan.samples)
        print(figures.table(HEADER, [row(level, results[level])]).splitlines()[-1], flush=True)
    for process in reversed(processes):
        stop(process)
    made = client().get(backlog.CRAWLS) or 0
    client().flushdb()
    client().set(backlog.CRAWLS, made)
    return results


def measure(address: str, key: str, count: int) -> Level:
    done = TaskRun.objects.filter(queue=queues.LOW_PRIORITY, state=TaskState.DONE)
    done_before, busy_before, begin = done.count(), figures.busy_seconds(), time.monotonic()
    samples = asyncio.run(
        asking.ask_at_fixed_rate(
            address,
            key,
            count=count,
            per_second=PER_SECOND,
            backlog=lambda: queues.length(client(), queues.LOW_PRIORITY),
        )
    )
    seconds = time.monotonic() - begin
    return Level(samples, (figures.busy_seconds() - busy_before) / seconds, (done.count() - done_before) / seconds)


def one_queue(here: World, plan: Plan, port: int, environ: dict[str, str], key: str) -> dict[int, list[float]]:
    """Return the waits in milliseconds of each level, with one queue read by two workers.

    A question that was not begun in time counts with the time it had waited by then.
    """
    environ = environ | {"DJANGO_SETTINGS_MODULE": "bench.single_queue"}
    address, processes = start_web(here, environ)
    worker = [PYTHON, "-m", "celery", "-A", "core", "--quiet", "worker", "-n", "before@%h", "-P", "prefork", "-c", "2"]
    processes.append(here.start("before", worker, **environ))
    processes.append(start_backlog(here, port, single_queue.QUEUE, environ))
    results = {}
    for level in plan.single_levels:
        fill(here, port, single_queue.QUEUE, level, environ)
        ids = asyncio.run(asking.leave_at_fixed_rate(address, key, count=plan.single_samples, per_second=1.0))
        results[level] = waits_until_begun(ids, plan.single_seconds)
        print(f"one queue, {level} queued: {figures.spread(results[level])}", flush=True)
    for process in reversed(processes):
        stop(process)
    return results


def start_web(here: World, environ: dict[str, str]) -> tuple[str, list[subprocess.Popen[bytes]]]:
    port = ports.find_free()
    return f"http://127.0.0.1:{port}", here.start_services("web", UVICORN_PORT=str(port), **environ)


def start_backlog(here: World, port: int, queue: str, environ: dict[str, str]) -> subprocess.Popen[bytes]:
    client().set(backlog.LEVEL, 0)
    command = ["nice", "-n", "19", PYTHON, "-m", "bench.backlog_process", str(port), queue]
    return here.start("backlog", command, **environ)


def fill(here: World, port: int, queue: str, level: int, environ: dict[str, str]) -> None:
    """Fill the queue up to the level as fast as it goes, then leave it to the background to keep it there."""
    filling = here.start("fill", [PYTHON, "-m", "bench.backlog_process", str(port), queue, str(level)], **environ)
    here.wait_for(
        lambda: filling.poll() is not None, f"{level} tasks were not queued", seconds=FILL_SECONDS, log="fill"
    )
    client().set(backlog.LEVEL, level)
    time.sleep(SETTLE_SECONDS)


def waits_until_begun(ids: list[str], seconds: float) -> list[float]:
    deadline = time.monotonic() + seconds
    waiting = Message.objects.filter(pk__in=ids, started_at=None)
    while waiting.exists() and time.monotonic() < deadline:
        time.sleep(0.5)
    now = timezone.now()
    return [
        ((message.started_at or now) - message.created_at).total_seconds() * 1000
        for message in Message.objects.filter(pk__in=ids)
    ]


def row(level: int, measured: Level) -> list[object]:
    wait = figures.spread([sample.queue_wait_ms for sample in measured.samples])
    seen = figures.spread([sample.client_wait_ms for sample in measured.samples])
    queued = [sample.queued for sample in measured.samples]
    return [level, wait["n"], wait["p50"], wait["p95"], wait["p99"], wait["max"], seen["p50"], seen["p99"],
            f"{min(queued)} to {max(queued)}", f"{measured.busy_cores:.2f}",
            f"{measured.tasks_per_second:.1f}"]  # fmt: skip


def report(three: dict[int, Level], one: dict[int, list[float]]) -> None:
    print(figures.table(HEADER, [row(level, measured) for level, measured in three.items()]))
    print("\nThe same load on one queue with two workers:\n")
    rows = [
        [
            level,
            figures.spread(waits)["n"],
            *(f"{figures.percentile(waits, share) / 1000:.1f}" for share in (0.5, 0.95, 1)),
        ]
        for level, waits in one.items()
    ]
    print(figures.table(("tasks queued", "chats", "wait p50 s", "p95 s", "max s"), rows))
    spreads = {level: [figures.spread([sample.queue_wait_ms for sample in measured.samples]),
                       figures.spread([sample.client_wait_ms for sample in measured.samples])]
               for level, measured in three.items()}  # fmt: skip
    print(
        figures.last_line(
            "chat_wait",
            wait_ms={str(level): wait for level, (wait, _seen) in spreads.items()},
            single_queue_wait_ms={str(level): figures.spread(waits) for level, waits in one.items()},
            client_wait_ms={str(level): seen for level, (_wait, seen) in spreads.items()},
            busy_cores={str(level): round(measured.busy_cores, 2) for level, measured in three.items()},
            background_tasks_per_s={
                str(level): round(measured.tasks_per_second, 1) for level, measured in three.items()
            },
        )
    )
