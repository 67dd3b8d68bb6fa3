"""Real Celery workers as processes of their own, on the test's database and Redis."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from django.db import connection

BASE_DIR = Path(__file__).resolve().parent.parent
START_SECONDS = 30
POOL = {"CELERY_CUSTOM_WORKER_POOL": "core.asyncio_pool:TaskPool"}  # which pool "custom" is, as in deploy/


def environment(env: dict[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a process that shall see what the test sees: its test database above all."""
    database = urlsplit(os.environ["DATABASE_URL"])._replace(path="/" + connection.settings_dict["NAME"]).geturl()
    return os.environ | {"DATABASE_URL": database, "PYTHONUNBUFFERED": "1"} | POOL | (env or {})


class Worker:
    """A running worker process; ``log`` is what it has written so far."""

    def __init__(self, process: "subprocess.Popen[bytes]", log_path: Path) -> None:
        self.process = process
        self._log_path = log_path

    @property
    def log(self) -> str:
        return self._log_path.read_text(errors="replace")

    def kill(self) -> None:
        """SIGKILL the whole process group, as a crash of the machine would."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """Ask it to finish, then make it."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self.kill()


@contextmanager
def running_worker(
    *,
    queues: Sequence[str] = ("high_priority",),
    pool: str = "custom",
    concurrency: int = 4,
    env: dict[str, str] | None = None,
    arguments: Sequence[str] = (),
) -> Iterator[Worker]:
    """Run a worker for as long as the block runs; it is ready when the block begins."""
    name = f"test-{os.getpid()}-{time.monotonic_ns()}@local"
    command = [
        sys.executable, "-m", "celery", "-A", "core", "worker", "-n", name, "-Q", ",".join(queues),
        "-P", pool, "-c", str(concurrency), "--disable-prefetch", "--without-gossip", "--without-mingle",
        "-l", "INFO", *arguments,
    ]  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="pasokh-worker-") as folder:
        log_path = Path(folder) / "worker.log"
        with log_path.open("wb") as log:
            process = subprocess.Popen(
                command, cwd=BASE_DIR, env=environment(env), stdout=log, stderr=log, start_new_session=True
            )
        worker = Worker(process, log_path)
        try:
            wait_until(lambda: " ready." in worker.log or process.poll() is not None, START_SECONDS, lambda: worker.log)
            assert process.poll() is None, worker.log
            yield worker
        finally:
            worker.stop()


def wait_until(
    condition: Callable[[], object],
    seconds: float = 20.0,
    explain: Callable[[], object] = lambda: "",
    *,
    every: float = 0.05,
) -> None:
    """Return once the condition holds; fail with the explanation if it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s. {explain()}"
        time.sleep(every)
