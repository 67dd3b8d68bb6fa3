"""A Pasokh that runs: whether it does, waiting beside it, and stopping it."""

import contextlib
import os
import signal
import sys
import threading
import time
from types import FrameType

from core.up import leftovers
from core.up.places import Places
from core.up.supervision import Manager

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopRequestedError(Exception):
    """Someone asked for the end while Pasokh was still starting."""


def say(line: str) -> None:
    with contextlib.suppress(OSError):  # the terminal may be gone
        sys.stderr.write(f"pasokh: {line}\n")
        sys.stderr.flush()


def stop(places: Places) -> int:
    """Stop everything and wait for it; nothing to stop is no error."""
    manager = Manager(places)
    pid = manager.pid()
    if pid is not None:
        say("stopping …")
        end_manager(places, pid)
    count = leftovers.end(places)
    if pid is None:
        say(f"ended {count} processes that an earlier start left behind." if count else "nothing is running.")
    else:
        say("stopped. Your data stays in var/.")
    return 0


def end_manager(places: Places, pid: int, force: threading.Event | None = None) -> None:
    """Ask the process manager to stop all services and wait until it has ended; ``force`` kills what is left."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
        while _is_alive(pid):
            if force is not None and force.is_set():
                os.kill(pid, signal.SIGKILL)
            leftovers.stop_deaf(places)
            time.sleep(0.2)
    leftovers.end(places)
    places.socket().unlink(missing_ok=True)


def _is_alive(pid: int) -> bool:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _leave_terminal() -> None:
    """Write to nowhere from now on: the terminal is closed, and each write to it would fail."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.dup2(nowhere, sys.stderr.fileno())


class StopSignals:
    """Turns Ctrl-C, a closed terminal and SIGTERM into a request; the second one means "at once"."""

    def __init__(self) -> None:
        self.requested = threading.Event()
        self.forced = threading.Event()
        for number in STOP_SIGNALS:
            signal.signal(number, self._receive)

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            _leave_terminal()
        if self.requested.is_set():
            self.forced.set()
        self.requested.set()

    def check(self) -> None:
        if self.requested.is_set():
            raise StopRequestedError
