"""What happens when more ask than can be answered: ``script/bench overload [--quick] [--knee N]``.

A normal rate, three times what this machine can answer, and the normal rate again. Who is refused shall be told at
once, who is taken shall be answered as fast as ever, and afterwards all shall be as before.
"""

import argparse
from dataclasses import dataclass

from bench import figures
from bench.busy_world import HEADER, OVERHEAD_P95_MAX_MS, Asked, BusyWorld, complaints, overheads_ms, row
from bench.load_generator import Sample
from bench.world import World

OVERLOAD = 3.0
NORMAL = 0.5  # of the knee
WINDOW_SECONDS = 2.0


@dataclass(frozen=True)
class Plan:
    normal_seconds: float
    overload_seconds: float
    after_seconds: float


FULL = Plan(normal_seconds=20, overload_seconds=30, after_seconds=30)
QUICK = Plan(normal_seconds=6, overload_seconds=8, after_seconds=10)


def main(here: World) -> None:
    options = parse()
    plan = QUICK if options.quick else FULL
    machine = figures.machine()
    busy = BusyWorld(here)
    normal_rate = options.knee * NORMAL
    print(figures.table(HEADER, []), flush=True)
    normal = show(busy.ask(round(normal_rate * plan.normal_seconds), normal_rate))
    overload_rate = options.knee * OVERLOAD
    phases = [(overload_rate, plan.overload_seconds), (normal_rate, plan.after_seconds)]
    overload, after = busy.ask_in_phases(phases)
    report(machine, normal, show(overload), show(after))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="script/bench overload", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="about a minute")
    parser.add_argument(
        "--knee", type=float, default=25.0, help="questions a second that script/bench concurrency found"
    )
    return parser.parse_args()


def show(asked: Asked) -> Asked:
    print(figures.table(HEADER, [row(asked)]).splitlines()[-1], complaints(asked), sep="\n", flush=True)
    return asked


def report(machine: str, normal: Asked, overload: Asked, after: Asked) -> None:
    refused = [sample.status_ms for sample in overload.refused if sample.status_ms is not None]
    untold = sum(sample.retry_after_s is None for sample in overload.refused)
    first = {name: p99([s.first_ms for s in asked.answered if s.first_ms]) for name, asked in named(normal, overload)}
    done = {name: p99([s.done_ms for s in asked.answered if s.done_ms]) for name, asked in named(normal, overload)}
    recovery = recovered_after(after.samples)
    print(f"\n{machine}; overload {overload.per_second:g} questions a second\n")
    header = ("", "first word p99 ms", "whole answer p99 ms")
    print(figures.table(header, [(name, round(first[name]), round(done[name])) for name in first]))
    taken = len(overload.answered) / (len(overload.samples) / overload.per_second)
    print(f"\nAnswered: {taken:.1f} a second; without Retry-After: {untold}; errors: {len(overload.errors)}")
    print(
        figures.last_line(
            "overload",
            refused_within_ms_p99=round(p99(refused), 1),
            accepted_p99_ratio=round(done["overload"] / done["normal"], 2),
            first_word_p99_ratio=round(first["overload"] / first["normal"], 2),
            recovery_s=recovery,
            refused=len(overload.refused),
            accepted=len(overload.answered),
            errors=len(overload.errors) + untold + len(after.errors),
        )
    )


def named(normal: Asked, overload: Asked) -> list[tuple[str, Asked]]:
    return [("normal", normal), ("overload", overload)]


def p99(values: list[float]) -> float:
    return figures.percentile(values, 0.99)


def recovered_after(samples: list[Sample]) -> float:
    """Return the seconds until nobody is refused and the first word comes in time again; -1 if that never happens."""
    windows: dict[int, list[Sample]] = {}
    for sample in samples:
        windows.setdefault(int(sample.due_s / WINDOW_SECONDS), []).append(sample)
    bad = [number for number, window in windows.items() if not is_good(window)]
    if not bad:
        return 0.0
    return -1.0 if max(bad) == max(windows) else (max(bad) + 1) * WINDOW_SECONDS


def is_good(samples: list[Sample]) -> bool:
    in_time = figures.percentile(overheads_ms(samples), 0.95) <= OVERHEAD_P95_MAX_MS
    return in_time and all(sample.is_answered for sample in samples)
