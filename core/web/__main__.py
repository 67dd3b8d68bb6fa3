"""The web service: ``python -m core.web`` holds the listening socket, and a process behind it serves.

SIGHUP replaces the serving process without refusing or cutting anything: the new one accepts from the same socket
before the old one stops, and the old one ends its answers first. SIGTERM ends both. It imports nothing but the
standard library: a new release of the code is served from the next SIGHUP on.

``UVICORN_HOST`` and ``UVICORN_PORT`` say where to listen.
"""

import os
import select
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass

BACKLOG = 2048
START_SECONDS = 60.0
STOP_SECONDS = 10.0  # then what is still answered is cut off
KILL_SECONDS = 5.0
LOOK_EVERY_SECONDS = 0.2
RESTART_PAUSE_SECONDS = 1.0


@dataclass(frozen=True)
class Serving:
    """A serving process. It stops when ``lifeline`` is closed, however this process ends."""

    process: "subprocess.Popen[bytes]"
    lifeline: int

    def ask_to_stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        if self.process.poll() is None:
            self.process.send_signal(number)


class Web:
    """The socket, the process that serves, and those that only end what they have begun."""

    def __init__(self, host: str, port: int) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, port), family=family, backlog=BACKLOG)
        self._signals: list[int] = []
        self._serving: Serving | None = None
        self._ending: list[Serving] = []
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda received, _frame: self._signals.append(received))

    def run(self) -> int:
        """Serve until asked to stop; return the exit status."""
        self._serving = self._start()
        while self._serving is not None:
            time.sleep(LOOK_EVERY_SECONDS)
            self._forget_ended()
            received, self._signals = self._signals, []
            if signal.SIGTERM in received or signal.SIGINT in received:
                self._stop()
                return 0
            if signal.SIGHUP in received:
                self._replace()
            if self._serving.process.poll() is not None:
                os.close(self._serving.lifeline)
                time.sleep(RESTART_PAUSE_SECONDS)
                self._serving = self._start()
        return 1

    def _forget_ended(self) -> None:
        for old in [old for old in self._ending if old.process.poll() is not None]:
            self._ending.remove(old)
            os.close(old.lifeline)

    def _replace(self) -> None:
        """Have a new process serve; if it does not start, the old one goes on."""
        new = self._start()
        if new is None:
            sys.stderr.write("web: the new process did not start; the old one goes on\n")
        elif self._serving is not None:
            self._serving.ask_to_stop()
            self._ending.append(self._serving)
            self._serving = new

    def _start(self) -> Serving | None:
        """Start a process and return it once it accepts connections, or None if it ends before."""
        ready, tell_ready = os.pipe()
        live, lifeline = os.pipe()
        passed = (self._socket.fileno(), tell_ready, live)
        command = [sys.executable, "-m", "core.web.serving", *map(str, passed)]
        process = subprocess.Popen(command, pass_fds=passed)
        os.close(tell_ready)
        os.close(live)
        readable, _, _ = select.select([ready], [], [], START_SECONDS)
        is_ready = bool(readable and os.read(ready, 1))
        os.close(ready)
        if is_ready:
            return Serving(process, lifeline)
        process.kill()
        process.wait()
        os.close(lifeline)
        return None

    def _stop(self) -> None:
        serving = [*self._ending, *([self._serving] if self._serving else [])]
        for number, seconds in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGINT, KILL_SECONDS), (signal.SIGKILL, 1.0)):
            for one in serving:
                one.ask_to_stop(number)
            deadline = time.monotonic() + seconds
            while any(one.process.poll() is None for one in serving) and time.monotonic() < deadline:
                time.sleep(0.05)


if __name__ == "__main__":
    sys.exit(Web(os.environ.get("UVICORN_HOST", "127.0.0.1"), int(os.environ.get("UVICORN_PORT", "8000"))).run())
