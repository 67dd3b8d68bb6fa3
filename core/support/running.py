"""The processes of this installation and their memory, read from ``/proc``."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings


@dataclass(frozen=True)
class Process:
    """A process; ``pss_kb`` counts memory shared with others by its share, so that sums are true. -1: unknown."""

    pid: int
    parent: int
    rss_kb: int
    pss_kb: int
    threads: int
    command: str


def processes() -> list[Process]:
    """Return the processes that work inside the checkout or ``var``; in a container these are its own."""
    found = (_read(int(name)) for name in _numbers() if _works_here(int(name)))
    return [process for process in found if process is not None]


def _numbers() -> list[str]:
    try:
        return sorted(filter(str.isdecimal, os.listdir("/proc")), key=int)
    except FileNotFoundError:
        return []


def _works_here(pid: int) -> bool:
    try:
        folder = Path(os.readlink(f"/proc/{pid}/cwd"))
    except OSError:
        return False
    return any(folder.is_relative_to(root.resolve()) for root in (settings.BASE_DIR, settings.VAR_DIR))


def _read(pid: int) -> Process | None:
    try:
        status = dict(_pairs(Path(f"/proc/{pid}/status").read_text()))
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return None  # it has ended
    return Process(
        pid=pid,
        parent=int(status.get("PPid", 0)),
        rss_kb=int(status.get("VmRSS", "-1").split()[0]),
        pss_kb=_pss_kb(pid),
        threads=int(status.get("Threads", 0)),
        command=command or status.get("Name", ""),
    )


def _pss_kb(pid: int) -> int:
    try:
        lines = dict(_pairs(Path(f"/proc/{pid}/smaps_rollup").read_text()))
    except OSError:
        return -1
    return int(lines.get("Pss", "-1").split()[0])


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        name, _, value = line.partition(":")
        yield name, value.strip()
