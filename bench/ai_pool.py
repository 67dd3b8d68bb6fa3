"""Which worker pool should answer chats: ``script/bench ai_pool``.

Real answers (`chat.answer_message_task`) through each candidate, against a model server that always takes the same
time; ``asyncio`` is `core.asyncio_pool`, which ships. Arrivals come at a fixed rate whatever the workers do, and each
wait counts from the moment the question was due, so a stall cannot hide itself. The decision is in
docs/adr/0001-worker-processes.md.
"""

import argparse
import subprocess
import threading
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

import psycopg2
from django.conf import settings
from django.utils import timezone

from bench import fake_llm, figures, material, words
from bench.world import PYTHON, World, stop
from chat import services
from chat.models import Message
from core.celery import app
from tenants.models import Tenant
from tenants.services import create_tenant

ARRIVAL_SECONDS = 10.0
FINISH_SECONDS = 90.0
KEPT_FROM_THE_END_SECONDS = 0.2


@dataclass(frozen=True)
class Candidate:
    pool: str
    processes: int
    concurrency: int
    chats: int

    def __str__(self) -> str:
        return f"{self.pool} {self.processes} × {self.concurrency}"


CANDIDATES = (
    Candidate("prefork", 1, 8, 16),
    Candidate("threads", 2, 50, 100),
    Candidate("asyncio", 2, 500, 100),
    Candidate("asyncio", 2, 500, 200),
)
OURS = "core.asyncio_pool:TaskPool"
TOKENS = 200
HEADER = ("celery_ai", "chats", "start wait p50 ms", "p99 ms", "answer p50 s", "p99 s", "CPU ms per chat",
          "PSS MiB", "Postgres sessions, peak")  # fmt: skip


@dataclass
class Watch:
    """Samples what the candidate holds while it works."""

    pids: list[int]
    dsn: str
    sessions: list[int] = field(default_factory=list)
    megabytes: list[float] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> "Watch":
        self.cpu_before = figures.cpu_seconds(self._all())
        self._thread = threading.Thread(target=self._sample)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self.cpu_used = figures.cpu_seconds(self._all()) - self.cpu_before

    def _all(self) -> list[int]:
        return [pid for root in self.pids for pid in figures.descendants(root)]

    def _sample(self) -> None:
        connection = psycopg2.connect(self.dsn)
        connection.autocommit = True
        with connection.cursor() as cursor:
            while not self._over.wait(KEPT_FROM_THE_END_SECONDS):
                cursor.execute(
                    "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' "
                    "AND pid <> pg_backend_pid() AND application_name = 'candidate'"
                )
                self.sessions.append(cursor.fetchone()[0])
                self.megabytes.append(figures.memory_megabytes(self._all()))
        connection.close()


def main(here: World) -> None:
    """Measure every candidate and print the table; ``--only asyncio`` leaves the others out."""
    parser = argparse.ArgumentParser(prog="script/bench ai_pool", description=__doc__)
    parser.add_argument("--only", choices=sorted({candidate.pool for candidate in CANDIDATES}))
    only = parser.parse_args().only
    machine = figures.machine()
    _server, address = here.start_server("llm", "bench.fake_llm:application", FAKE_LLM_TOKENS=str(TOKENS))
    tenant = create_tenant(slug="bench")
    material.store(tenant)  # what the questions are about, so that each answer goes to the model
    rows, results = [], {}
    for candidate in (candidate for candidate in CANDIDATES if only in (None, candidate.pool)):
        result = measure(here, candidate, tenant, f"{address}/v1")
        results[f"{candidate}, {candidate.chats} chats"] = result
        rows.append([candidate, candidate.chats, *result.values()])
        print(figures.table(HEADER, rows[-1:]).splitlines()[-1], flush=True)
    ideal = fake_llm.ideal_seconds(TOKENS)
    print(f"\n{machine}; a model answer alone takes {ideal:.2f} s; arrivals within {ARRIVAL_SECONDS:.0f} s\n")
    print(figures.table(HEADER, rows))
    print(figures.last_line("ai_pool", ideal_seconds=ideal, candidates=results))


def measure(here: World, candidate: Candidate, tenant: Tenant, llm: str) -> dict[str, float]:
    """Run one candidate and return its figures in the order of the table."""
    workers = [start_worker(here, candidate, number, llm) for number in range(candidate.processes)]
    try:
        wait_until_consuming(here, workers, candidate)
        finish(ask_at_fixed_rate(tenant, 2 * candidate.processes), here)  # models load, connections open
        with Watch([worker.pid for worker in workers], dsn()) as watch:
            due = ask_at_fixed_rate(tenant, candidate.chats)
            messages = finish(due, here)
        waits = [(message.started_at - due[message.pk]).total_seconds() * 1000 for message in messages]
        lengths = [(message.finished_at - message.started_at).total_seconds() for message in messages]
        return {
            "wait_p50_ms": round(figures.percentile(waits, 0.5), 1),
            "wait_p99_ms": round(figures.percentile(waits, 0.99), 1),
            "answer_p50_s": round(figures.percentile(lengths, 0.5), 2),
            "answer_p99_s": round(figures.percentile(lengths, 0.99), 2),
            "cpu_ms_per_chat": round(1000 * watch.cpu_used / candidate.chats, 1),
            "pss_mib": round(max(watch.megabytes)),
            "postgres_sessions": max(watch.sessions),
        }
    finally:
        for worker in workers:
            stop(worker, seconds=30)


def start_worker(here: World, candidate: Candidate, number: int, llm: str) -> subprocess.Popen[bytes]:
    name = f"{candidate.pool}{candidate.concurrency}-{number}"
    pool = "custom" if candidate.pool == "asyncio" else candidate.pool
    command = [PYTHON, "-m", "celery", "-A", "core", "worker", "-n", f"{name}@bench", "-Q", "high_priority",
               "-P", pool, "-c", str(candidate.concurrency), "--disable-prefetch",
               "--without-gossip", "--without-mingle", "-l", "WARNING"]  # fmt: skip
    return here.start(
        name, command, LLM_BASE_URL=llm, LLM_API_KEY="none", LLM_MODEL=fake_llm.MODEL, PGAPPNAME="candidate",
        CELERY_CUSTOM_WORKER_POOL=OURS,
    )  # fmt: skip


def wait_until_consuming(here: World, workers: list[subprocess.Popen[bytes]], candidate: Candidate) -> None:

    def all_answer() -> bool:
        return len(app.control.ping(timeout=2, limit=len(workers)) or []) == len(workers)

    here.wait_for(all_answer, f"{candidate} did not start", process=workers[0],
                  log=f"{candidate.pool}{candidate.concurrency}-0")  # fmt: skip


def ask_at_fixed_rate(tenant: Tenant, count: int) -> dict[UUID, datetime]:
    """Ask ``count`` questions, evenly spread, and return when each was due."""

    due: dict[UUID, datetime] = {}
    begin_clock, begin = time.monotonic(), timezone.now()
    for number in range(count):
        offset = ARRIVAL_SECONDS * number / count
        time.sleep(max(0.0, begin_clock + offset - time.monotonic()))
        message = services.ask(tenant=tenant, question=words.question(number), user_id=f"user-{number}")
        due[message.pk] = begin + timedelta(seconds=offset)
    return due


def finish(due: dict[UUID, datetime], here: World) -> list[Message]:
    """Wait for every answer and return the messages.

    Raises:
        RuntimeError: if one is not answered by the model.
    """

    open_messages = Message.objects.filter(pk__in=due, finished_at=None)
    here.wait_for(lambda: not open_messages.exists(), "not all chats were answered", seconds=FINISH_SECONDS)
    messages = list(Message.objects.filter(pk__in=due))
    wrong = [message for message in messages if message.model != fake_llm.MODEL or message.state != "done"]
    if wrong:
        raise RuntimeError(f"{len(wrong)} of {len(messages)} chats went wrong: {wrong[0].state} {wrong[0].error}")
    return messages


def dsn() -> str:
    database = settings.DATABASES["default"]
    return (
        f"host={database['HOST']} port={database['PORT']} user={database['USER']} "
        f"password={database['PASSWORD']} dbname={database['NAME']}"
    )
