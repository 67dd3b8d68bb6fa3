"""The process manager: its file, its start and its stop, and what it tells of the services."""

import http.client
import os
import shlex
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from supervisor.xmlrpc import SupervisorTransport

from core.embedded.postgres import Postgres
from core.embedded.valkey import Valkey
from core.processes import SERVICES
from core.up.environment import Environment
from core.up.errors import UpError
from core.up.places import Places

START_SECONDS = 10.0
DATA_STOP_SECONDS = 20
ENDLESSLY = 1_000_000  # a pause that grows by a second each time lies between two tries

DATA_GROUP, APP_GROUP = "data", "app"

_HEAD = """\
; Written by script/up at each start. Look at a service with: script/services status
[unix_http_server]
file = %(ENV_PASOKH_SOCKET)s
chmod = 0700

[supervisord]
nodaemon = true
silent = true
logfile = %(ENV_VAR_DIR)s/log/supervisord.log
logfile_maxbytes = 5MB
logfile_backups = 2
pidfile = %(ENV_VAR_DIR)s/run/supervisord.pid

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface

[supervisorctl]
serverurl = unix://%(ENV_PASOKH_SOCKET)s
"""

_PROGRAM = """
[program:{name}]
command = {command}
autostart = false
autorestart = true
startsecs = 3
startretries = {retries}
stopsignal = {stop_signal}
stopwaitsecs = {stop_seconds}
killasgroup = true
priority = {priority}
redirect_stderr = true
stdout_logfile = %(ENV_VAR_DIR)s/log/{name}.log
stdout_logfile_maxbytes = 10MB
stdout_logfile_backups = 3
"""


def write_configuration(places: Places, data: Mapping[str, Postgres | Valkey]) -> Path:
    """Write the process manager's file for the embedded services in ``data`` and all of core.processes."""
    sections = [_HEAD]
    for name, server in data.items():
        stop_signal = "INT" if isinstance(server, Postgres) else "TERM"
        sections.append(_program(name, server.command(), 10, DATA_STOP_SECONDS, stop_signal))
    for service in SERVICES:
        sections.append(_program(service.name, service.command, service.priority, service.stop_grace_seconds, "TERM"))
    # Groups stop one after the other, the last first; inside a group all stop at once.
    if data:
        sections.append(f"\n[group:{DATA_GROUP}]\nprograms = {','.join(data)}\npriority = 10\n")
    sections.append(f"\n[group:{APP_GROUP}]\nprograms = {','.join(s.name for s in SERVICES)}\npriority = 20\n")
    path = places.run / "supervisord.conf"
    path.write_text("".join(sections), encoding="utf-8")
    return path


def _program(name: str, command: Iterable[str], priority: int, stop_seconds: int, stop_signal: str) -> str:
    return _PROGRAM.format(
        name=name,
        command=shlex.join(command).replace("%", "%%"),
        retries=ENDLESSLY,
        stop_signal=stop_signal,
        stop_seconds=stop_seconds,
        priority=priority,
    )


def service_variables(places: Places, environment: Environment) -> dict[str, str]:
    """Return the environment of the services: this process's own, and what differs from place to place."""
    inherited = {name: value for name, value in os.environ.items() if name not in ("PYTHONHOME", "PYTHONPATH")}
    return inherited | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "PYTHONUNBUFFERED": "1",
        "VAR_DIR": str(places.var),
        "PASOKH_ENV_FILE": str(places.env_file),
        "PASOKH_SOCKET": str(places.socket()),
        # Someone waits for Ctrl-C: unfinished background work goes back to its queue after this long.
        "CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT": os.environ.get("CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT", "3"),
        "UVICORN_HOST": os.environ.get("UVICORN_HOST", "127.0.0.1"),
        "UVICORN_PORT": str(environment.port),
        "FLOWER_ADDRESS": "127.0.0.1",
        "FLOWER_PORT": str(environment.flower_port),
        "FLOWER_BASIC_AUTH": f"admin:{environment.flower_password}",
        "FLOWER_DB": str(places.var / "flower" / "flower"),
    }


def become_control(places: Places, words: Sequence[str]) -> NoReturn:
    """Replace this process by the process manager's own control program.

    Raises:
        UpError: if no process manager runs.
    """
    if Manager(places).pid() is None:
        raise UpError("nothing is running. Start it: script/up")
    variables = os.environ | {"VAR_DIR": str(places.var), "PASOKH_SOCKET": str(places.socket())}
    configuration = str(places.run / "supervisord.conf")
    command = [sys.executable, "-m", "supervisor.supervisorctl", "--configuration", configuration, *words]
    os.execve(sys.executable, command, variables)


class Manager:
    """A running process manager, spoken to over its socket."""

    def __init__(self, places: Places) -> None:
        self.places = places
        self.address = f"unix://{places.socket()}"

    @property
    def rpc(self) -> Any:
        """The manager's functions, over a new connection: one that has failed once stays unusable."""
        transport = SupervisorTransport(None, None, self.address)
        return xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport).supervisor

    def pid(self) -> int | None:
        """Return the process manager's id, or None if none runs."""
        try:
            return int(self.rpc.getPID())
        except (OSError, http.client.HTTPException, xmlrpc.client.Error):
            return None

    def is_complete(self) -> bool:
        """Tell whether the start got as far as the web service; if not, it was cut short."""
        return bool(self.rpc.getProcessInfo(f"{APP_GROUP}:web")["statename"] != "STOPPED")

    def launch(self, configuration: Path, variables: Mapping[str, str]) -> "subprocess.Popen[bytes]":
        """Start the process manager in a session of its own and wait until it listens.

        Raises:
            UpError: if it does not come up.
        """
        command = [sys.executable, "-m", "supervisor.supervisord", "--configuration", str(configuration)]
        with (self.places.log / "supervisord.out").open("wb") as output:
            process = subprocess.Popen(
                command, cwd=self.places.checkout, env=dict(variables), start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            )  # fmt: skip
        (self.places.run / "session").write_text(str(process.pid))
        deadline = time.monotonic() + START_SECONDS
        while self.pid() != process.pid:
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                raise UpError(f"the process manager did not start: {self.last_line('supervisord.out')}")
            time.sleep(0.02)
        return process

    def start(self, group: str, names: Iterable[str]) -> None:
        """Have the services started that are not yet."""
        for name in names:
            try:
                self.rpc.startProcess(f"{group}:{name}", False)
            except xmlrpc.client.Fault as exc:
                if "ALREADY_STARTED" not in exc.faultString:
                    raise UpError(f"{name} does not start: {exc.faultString}") from exc

    def failure(self, group: str, name: str) -> str:
        """Return why a service keeps ending, as the last line of its log says, or an empty text while it does not."""
        info = self.rpc.getProcessInfo(f"{group}:{name}")
        if info["statename"] not in ("BACKOFF", "FATAL", "EXITED"):
            return ""
        return self.last_line(f"{name}.log") or info["spawnerr"]

    def last_line(self, log: str) -> str:
        """Return the last line of one of the logs that says something."""
        try:
            lines = (self.places.log / log).read_text(encoding="utf-8", errors="replace").strip().splitlines()
        except OSError:
            return ""
        return lines[-1] if lines else ""
