"""A whole installation of its own for one benchmark: services, schema, processes; nothing outlives the block.

Nothing may import models before `world` is entered: it is what points the settings at the fresh services.
That is why a benchmark is started as ``python -m bench NAME``.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

import django
from django.core.management import call_command

from bench import figures
from core import processes
from core.embedded import ports
from core.embedded.running import running_postgres, running_valkey

BASE_DIR = Path(__file__).resolve().parent.parent
PYTHON = sys.executable
START_SECONDS = 60


class World:
    """The running installation: start processes in it, and read their logs when one fails."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.started: dict[str, subprocess.Popen[bytes]] = {}  # the latest of each name
        self._stack = stack

    def start(self, name: str, command: Sequence[str], **environ: str) -> subprocess.Popen[bytes]:
        """Start a process in a group of its own; it is stopped with the world, or earlier by `stop`.

        All share one session, as under script/up: Linux weighs sessions first, and a nice level only counts inside one.
        """
        with self.log(name).open("ab") as log:
            process = subprocess.Popen(
                command, cwd=BASE_DIR, env=os.environ | environ, stdout=log, stderr=log, process_group=0
            )
        self._stack.callback(stop, process)
        self.started[name] = process
        return process

    def start_services(self, *names: str, **environ: str) -> list[subprocess.Popen[bytes]]:
        """Start services with the very commands that ship, and return them once each passes its own health check."""
        services = [processes.BY_NAME[name] for name in names]
        for service in services:
            for worker in (service.name, *service.processes):  # a fresh sign of life of the last run would do as well
                (Path((os.environ | environ)["VAR_DIR"]) / "health" / worker).unlink(missing_ok=True)
        started = [self.start(service.name, service.command, **environ) for service in services]
        for service, process in zip(services, started, strict=True):
            check = partial(self._is_well, service.health, environ)
            self.wait_for(check, f"{service.name} is not well", process=process, log=service.name)
        return started

    def _is_well(self, check: Sequence[str], environ: dict[str, str]) -> bool:
        done = subprocess.run(check, cwd=BASE_DIR, env=os.environ | environ, capture_output=True, check=False)
        return done.returncode == 0

    def start_server(self, name: str, application: str, **environ: str) -> tuple[subprocess.Popen[bytes], str]:
        """Start an ASGI application on a free port and return it with its address once it answers."""
        port = ports.find_free()
        command = [PYTHON, "-m", "uvicorn", application, "--port", str(port), "--log-level", "warning"]
        process = self.start(name, command, **environ)
        address = f"http://127.0.0.1:{port}"
        self.wait_for(lambda: answers(address), f"{name} does not answer", process=process, log=name)
        return process, address

    def wait_for(
        self,
        condition: Callable[[], object],
        complaint: str,
        *,
        seconds: float = START_SECONDS,
        process: subprocess.Popen[bytes] | None = None,
        log: str = "",
    ) -> None:
        """Wait until the condition holds.

        Raises:
            RuntimeError: if it does not in time, or the process ended; with the end of its log.
        """
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline or (process is not None and process.poll() is not None):
                tail = self.log(log).read_text(errors="replace")[-3000:] if log else ""
                raise RuntimeError(f"{complaint}\n{tail}")
            time.sleep(0.05)

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"


@contextmanager
def world(**environ: str) -> Iterator[World]:
    """Run fresh services, migrated, and point this process and its children at them."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the blocks below are left in order
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pasokh-bench-")))
        folder.chmod(0o755)
        os.environ |= {
            "CHAT_ANSWERS_PER_TENANT": "10000",  # one tenant asks for all
            "CHAT_WAITING_MAX": "0",  # and may leave as many questions as it likes
            "QUERY_CACHE_ENABLED": "false",  # what is measured is the answering
            "PASOKH_ENV_FILE": os.devnull,
            "VAR_DIR": str(folder / "var"),
            "SECRET_KEY": "only-for-benchmarks",
            "DJANGO_SETTINGS_MODULE": "core.settings",
            "DATABASE_URL": stack.enter_context(running_postgres(folder)).url,
            "REDIS_URL": stack.enter_context(running_valkey(folder)).url,
            "CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT": "2",
            "LOG_LEVEL": "WARNING",
            "PATH": f"{Path(PYTHON).parent}{os.pathsep}{os.environ['PATH']}",
        } | environ
        (folder / "var" / "run").mkdir(parents=True)
        django.setup()
        call_command("migrate", verbosity=0)
        yield World(folder, stack)


def stop(process: subprocess.Popen[bytes], seconds: float = 15) -> None:
    """End a process politely, then all that it had started without asking."""
    family = figures.descendants(process.pid)
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            print(f"bench: {process.args!r} did not stop in {seconds} s", file=sys.stderr)
    for pid in family:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def answers(address: str) -> bool:
    """Tell whether an HTTP server is there, whatever it says."""
    try:
        urllib.request.urlopen(address, timeout=2).close()  # noqa: S310 -- loopback
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True
