"""Percentiles, tables and what a process costs: the arithmetic every benchmark shares."""

import json
import math
import os
import platform
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


def percentile(values: Sequence[float], share: float) -> float:
    """Return the nearest-rank percentile: a value that was really measured, never one in between."""
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def spread(values: Sequence[float]) -> dict[str, float | int]:
    """Return ``{n, p50, p95, p99, max}`` in the unit of the values, to one decimal."""
    figures = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
    named = {name: round(percentile(values, share), 1) for name, share in figures.items()}
    return {"n": len(values)} | named | {"max": round(max(values, default=math.nan), 1)}


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def machine() -> str:
    """Describe where the figures were taken, as one line."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    load = os.getloadavg()[0]
    return f"{os.cpu_count()} cores, {memory:.0f} GiB, Python {platform.python_version()}, load {load:.1f} at the start"


def last_line(bench: str, **figures: Any) -> str:
    """Return the machine-readable result, which every benchmark prints last."""
    return json.dumps({"bench": bench} | figures, ensure_ascii=False)


def descendants(pid: int) -> list[int]:
    """Return the process and all that it started, as far as they live."""
    found, todo = [], [pid]
    while todo:
        current = todo.pop()
        try:
            children = [
                int(child)
                for thread in Path(f"/proc/{current}/task").iterdir()
                for child in (thread / "children").read_text().split()
            ]
        except OSError:
            continue
        found.append(current)
        todo += children
    return found


def cpu_seconds(pids: Iterable[int]) -> float:
    """Return the CPU time of living processes so far, and of their children that have ended."""
    total = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += sum(map(int, fields[11:15]))
    return total / CLOCK_TICKS


def busy_seconds() -> float:
    """Return the time that the machine's cores have worked since its start, whoever had them."""
    user, nice, system, _idle, _waiting, irq, softirq = map(int, Path("/proc/stat").read_text().split()[1:8])
    return (user + nice + system + irq + softirq) / CLOCK_TICKS


def memory_megabytes(pids: Iterable[int]) -> float:
    """Return the proportional set size: pages shared after a fork count once."""
    total = 0
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


def thread_count(pids: Iterable[int]) -> int:
    return sum(len(list(Path("/proc").glob(f"{pid}/task/*"))) for pid in pids)


def median(values: Sequence[float]) -> float:
    return statistics.median(values) if values else math.nan
