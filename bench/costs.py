"""What each service costs while a load runs: CPU, memory, threads and sessions, read from /proc and from Postgres."""

import os
import threading
from collections import defaultdict
from pathlib import Path

from django.db import connection

from bench import figures
from bench.world import World

SERVICES = ("web", "celery_ai", "standby", "bg", "sweeper", "postgres", "valkey")
LOOK_EVERY_SECONDS = 2.0
_DATA_SERVERS = {"bin/postgres": "postgres", "valkey-server": "valkey"}


def processes(here: World) -> dict[str, list[int]]:
    """Return the living processes of each started service, and of the data servers, by name."""
    found = defaultdict(list)
    for name, started in here.started.items():
        for pid in figures.descendants(started.pid):
            service = name
            if name == "celery_worker":
                service = "standby" if b"standby@" in _command(pid) else "bg"
            found[service].append(pid)
    for pid in figures.descendants(os.getpid()):
        for program, name in _DATA_SERVERS.items():
            if program.encode() in _command(pid).split(b"\0")[0]:
                found[name] += figures.descendants(pid)
    return dict(found)


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


class Costs:
    """Measures what the block costs: ``cpu_seconds`` by service, and the most seen of everything else."""

    def __init__(self, here: World) -> None:
        self._here = here
        self._over = threading.Event()
        self.megabytes: dict[str, float] = defaultdict(float)
        self.threads: dict[str, int] = defaultdict(int)
        self.sessions = 0

    def __enter__(self) -> "Costs":
        self._before = self._cpu()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        after = self._cpu()
        self._over.set()
        self._thread.join()
        self.cpu_seconds = {name: after[name] - self._before.get(name, 0.0) for name in after}

    def per_question(self, questions: int) -> dict[str, float]:
        """Return the CPU milliseconds of each service for one question, and ``total``."""
        costs = {name: 1000 * self.cpu_seconds.get(name, 0.0) / questions for name in SERVICES}
        return {name: round(cost, 1) for name, cost in ({"total": sum(costs.values())} | costs).items()}

    def shares(self, seconds: float) -> dict[str, float]:
        """Return how much of one core each process group took, the busiest first."""
        busy = sorted(self.cpu_seconds.items(), key=lambda item: -item[1])
        return {name: round(spent / seconds, 2) for name, spent in busy}

    def _cpu(self) -> dict[str, float]:
        return {name: figures.cpu_seconds(pids) for name, pids in processes(self._here).items()}

    def _watch(self) -> None:
        try:
            while not self._over.wait(LOOK_EVERY_SECONDS):
                self._look()
        finally:
            connection.close()

    def _look(self) -> None:
        for name, pids in processes(self._here).items():
            self.megabytes[name] = max(self.megabytes[name], figures.memory_megabytes(pids))
            self.threads[name] = max(self.threads[name], figures.thread_count(pids))
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity "
                "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
            )
            self.sessions = max(self.sessions, cursor.fetchone()[0])
