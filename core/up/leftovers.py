"""Processes of an earlier start that outlived their process manager, and how they are ended.

All of them share the session of the process manager, whose number is kept in ``var/run/session``. Session numbers
are used again by the system, so a process must also work inside this checkout to be taken for ours. Linux only:
elsewhere nothing is found.
"""

import contextlib
import os
import signal
import time
from pathlib import Path

from core.up.places import Places

STOP_SECONDS = 10.0


def end(places: Places) -> int:
    """Stop what an earlier start left behind and return how many processes that were."""
    found = find(places)
    for pid in found:
        # PostgreSQL takes SIGINT for "stop now, cleanly" and SIGTERM for "stop when all have left".
        _signal(pid, signal.SIGINT if _name(pid) == "postgres" else signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    while time.monotonic() < deadline and find(places):
        time.sleep(0.1)
    for pid in find(places):
        _signal(pid, signal.SIGKILL)
    _remove_stale_postmaster_file(places)
    return len(found)


def stop_deaf(places: Places) -> None:
    """Stop services that missed their manager's signal because they had just been started.

    Between fork and exec a child still has the manager's handlers, which swallow the signal; the program that follows
    would run on until it is killed. It is known by taking SIGTERM as the system does: it has no work yet.
    """
    for pid in find(places):
        status = _status(pid)
        is_deaf = not int(status.get("SigCgt", "ffffffff"), 16) >> (signal.SIGTERM - 1) & 1
        if is_deaf and "supervisor.supervisord" in _command(int(status.get("PPid", "0"))):
            _signal(pid, signal.SIGTERM)


def _status(pid: int) -> dict[str, str]:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def find(places: Places) -> list[int]:
    """Return the ids of the processes of the kept session that work inside this checkout.

    PostgreSQL's own children leave the session but never its data folder, and no other program works there.
    """
    try:
        session = int((places.run / "session").read_text())
    except (OSError, ValueError):
        return []
    inside, data = (places.checkout.resolve(), places.var.resolve()), (places.var.resolve() / "postgres",)
    candidates = {pid: found for pid in all_processes() if (found := _session(pid))}
    return [
        pid
        for pid, found in candidates.items()
        if (found == session and _works_in(pid, inside)) or (_name(pid) == "postgres" and _works_in(pid, data))
    ]


def all_processes() -> list[int]:
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdecimal()]
    except FileNotFoundError:
        return []


def _session(pid: int) -> int:
    """Return the session of a live process, 0 of a dead one or a zombie."""
    try:
        state, _parent, _group, session = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:4]
    except (OSError, ValueError):
        return 0
    return 0 if state == "Z" else int(session)


def _works_in(pid: int, folders: tuple[Path, ...]) -> bool:
    try:
        folder = Path(os.readlink(f"/proc/{pid}/cwd"))
    except OSError:
        return False
    return any(folder.is_relative_to(inside) for inside in folders)


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _remove_stale_postmaster_file(places: Places) -> None:
    """Forget a killed server whose process id someone else has by now: PostgreSQL would refuse to start."""
    path = places.var / "postgres" / "postmaster.pid"
    try:
        pid = int(path.read_text().splitlines()[0])
    except (OSError, ValueError, IndexError):
        return
    if Path("/proc/self").exists() and _name(pid) != "postgres":
        path.unlink(missing_ok=True)
