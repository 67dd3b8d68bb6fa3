"""Killing what an installation is made of, without warning, and starting again what nothing else starts.

Workers come back by themselves: `celery_ai` and `celery_worker` bring their process manager with them. The sweeper,
Redis and Postgres are single processes that Compose or script/up start again; here `Revived` does.
"""

import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import urlsplit

import redis
from django.conf import settings
from django.utils import timezone

from bench import figures
from bench.world import World, stop
from core.embedded.postgres import Postgres
from core.embedded.valkey import Valkey

LOOK_EVERY_SECONDS = 0.1
SHARES = {"celery_ai": 45, "celery_worker": 45, "sweeper": 10}  # of the kills of workers, in percent
WORKER, REDIS, WIPE, POSTGRES = "worker killed", "redis killed", "redis wiped", "postgres killed"
SEED = 20261122


class Revived:
    """A process that is started again as soon as it is gone."""

    def __init__(self, here: World, name: str, command: Sequence[str], pid: int, **environ: str) -> None:
        self._here, self._name, self._command, self._environ = here, name, command, environ
        self._pid = pid
        self._process: subprocess.Popen[bytes] | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name=f"revive-{name}", daemon=True)
        self._thread.start()

    def kill(self) -> None:
        self.end(signal.SIGKILL)

    def end(self, number: signal.Signals) -> int:
        """Send the signal that ends it; return the id that it had."""
        pid = self._pid
        with suppress(ProcessLookupError):
            os.kill(pid, number)
        return pid

    def leave(self) -> None:
        """Start it no more, and end it if it is ours."""
        self._over.set()
        self._thread.join()
        if self._process is not None:
            self._process.kill() if self._name == "postgres" else stop(self._process)

    def _watch(self) -> None:
        while not self._over.wait(LOOK_EVERY_SECONDS):
            with suppress(ChildProcessError):
                os.waitpid(self._pid, os.WNOHANG)  # Postgres does not start while its dead forerunner has a number
            if not is_alive(self._pid):
                self._process = self._here.start(self._name, self._command, **self._environ)
                self._pid = self._process.pid


def is_alive(pid: int) -> bool:
    """Tell whether the process runs; one that is dead and not yet asked for does not."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def revived_postgres(here: World) -> Revived:
    """Watch the world's Postgres, which replays its log when it starts, as after a crash of the machine."""
    url = urlsplit(os.environ["DATABASE_URL"])
    server = Postgres(here.folder / "postgres", url.port or 0, url.password or "")
    pid = int((server.data_dir / "postmaster.pid").read_text().splitlines()[0])
    return Revived(here, "postgres", server.command(), pid)


def revived_redis(here: World) -> Revived:
    """Watch the world's Redis."""
    url = urlsplit(os.environ["REDIS_URL"])
    server = Valkey(here.folder / "valkey", url.port or 0, url.password or "")
    return Revived(here, "valkey", server.command(), redis.Redis.from_url(server.url).info("server")["process_id"])


@dataclass
class Killer:
    """Kills at random moments, evenly spread, until the plan is done; ``done`` is what was killed when."""

    supervisors: dict[str, int]  # the pids of the process managers
    sweeper: Revived
    redis: Revived
    postgres: Revived
    done: list[tuple[datetime, str]] = field(default_factory=list)
    dice: random.Random = field(default_factory=lambda: random.Random(SEED))

    def run(self, plan: dict[str, int], gap_seconds: float) -> None:
        """Kill as often as the plan says, in a random order, a gap apart."""
        kinds = [kind for kind, count in plan.items() for _ in range(count)]
        self.dice.shuffle(kinds)
        acts: dict[str, Callable[[], None]] = {
            WORKER: self._kill_worker, REDIS: self.redis.kill, WIPE: wipe, POSTGRES: self.postgres.kill,
        }  # fmt: skip
        for kind in kinds:
            time.sleep(gap_seconds * self.dice.uniform(0.7, 1.3))
            self.done.append((timezone.now(), kind))
            acts[kind]()

    def count(self, kind: str) -> int:
        return sum(1 for _at, done in self.done if done == kind)

    def _kill_worker(self) -> None:
        """Kill one process of the workers, main or child, as the kernel would."""
        service = self.dice.choices(list(SHARES), weights=list(SHARES.values()))[0]
        if service == "sweeper":
            self.sweeper.kill()
            return
        supervisor = self.supervisors[service]
        workers = [pid for pid in figures.descendants(supervisor) if pid != supervisor]
        if workers:
            with suppress(ProcessLookupError):
                os.kill(self.dice.choice(workers), signal.SIGKILL)


def wipe() -> None:
    """Empty Redis: messages, streams, counters, everything; if it is away just now, as soon as it is back."""
    client = redis.Redis.from_url(settings.REDIS_URL, socket_timeout=5)
    for _try in range(50):
        try:
            client.flushall()
        except redis.RedisError:
            time.sleep(0.1)
        else:
            return
