"""Processes started by tests, each in a session of its own, so that none can hide."""

import os
import signal
import subprocess
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]


def start(command, environ, log):
    """Start a command of the product as its process manager would, from the checkout."""
    with Path(log).open("ab") as output:
        return subprocess.Popen(
            command, cwd=CHECKOUT, env=environ, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            start_new_session=True,
        )  # fmt: skip


def members(session):
    """Return the ids of the live processes of a session."""
    found = []
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            state, _parent, _group, number = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(number) == session and state != "Z":
            found.append(int(name))
    return found


def end(process):
    """Kill whatever is left of a session."""
    for pid in members(process.pid):
        os.kill(pid, signal.SIGKILL)
    process.wait(timeout=10)
