"""Start an embedded server for as long as a block runs: for tests and benchmarks."""

import secrets
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from core.embedded import ports
from core.embedded.errors import EmbeddedServiceError
from core.embedded.postgres import Postgres
from core.embedded.valkey import Valkey

READY_TIMEOUT_SECONDS = 30


@contextmanager
def running_postgres(folder: Path) -> Iterator[Postgres]:
    """Run a fresh PostgreSQL under ``folder`` and stop it after the block."""
    password = secrets.token_hex(16)
    Postgres(folder / "postgres", 0, password).ensure_initialised()
    server = Postgres(folder / "postgres", ports.find_free(), password)
    with _running(server, folder / "postgres.log", signal.SIGINT):
        server.ensure_database()
        yield server


@contextmanager
def running_valkey(folder: Path) -> Iterator[Valkey]:
    """Run a fresh Valkey under ``folder`` and stop it after the block."""
    server = Valkey(folder / "valkey", ports.find_free(), secrets.token_hex(16))
    server.ensure_configured()
    with _running(server, folder / "valkey.log", signal.SIGTERM):
        yield server


@contextmanager
def _running(server: Postgres | Valkey, log: Path, stop_signal: signal.Signals) -> Iterator[None]:
    with log.open("ab") as output:
        process = subprocess.Popen(server.command(), stdout=output, stderr=output, start_new_session=True)
    try:
        _wait_until_ready(server, process, log)
        yield
    finally:
        process.send_signal(stop_signal)
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(server: Postgres | Valkey, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_SECONDS
    while not server.is_ready():
        if process.poll() is not None or time.monotonic() > deadline:
            raise EmbeddedServiceError(f"{type(server).__name__} did not start; see {log}")
        time.sleep(0.05)
