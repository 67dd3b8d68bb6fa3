"""How many people can ask at the same time: ``script/bench concurrency [--quick]``.

Everything on this machine, load generator and stub model included. First 1,000 users who each ask once a minute;
then rising rates until answers are late or missing, and which process was busiest then; then 1,000 answers at once.
The model's own time is fixed (bench/model_server.py), so whatever comes on top of it is the product's.
"""

import argparse
import statistics
from dataclasses import dataclass
from itertools import count, islice

from bench import figures, phases
from bench.busy_world import HEADER, OVERHEAD_P95_MAX_MS, Asked, BusyWorld, complaints, row
from bench.load_generator import USERS
from bench.world import World
from chat import stream
from core.redis import client

PER_USER_SECONDS = 60.0
SAMPLED_STREAMS = 100


@dataclass(frozen=True)
class Plan:
    """How long each part takes."""

    users_seconds: float
    step_factor: float
    step_seconds: float
    steps: int
    held: int
    held_per_second: float
    held_seconds: int


FULL = Plan(
    users_seconds=60, step_factor=1.2, step_seconds=15, steps=10, held=1000, held_per_second=18, held_seconds=60
)
QUICK = Plan(users_seconds=10, step_factor=1.5, step_seconds=5, steps=1, held=60, held_per_second=20, held_seconds=10)


def main(here: World) -> None:
    options = parse()
    plan = QUICK if options.quick else FULL
    machine = figures.machine()
    busy = BusyWorld(here, slow_seconds=plan.held_seconds)
    rate = options.rate or USERS / PER_USER_SECONDS
    print(figures.table(HEADER, []), flush=True)
    users = show(busy.ask(round(rate * plan.users_seconds), rate))
    knee = users if options.only_users else find_knee(busy, plan, users)
    held = busy.ask(plan.held, plan.held_per_second, slowly=True) if not options.only_users else users
    report(machine, users, knee, held)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="script/bench concurrency", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a minute or two: few questions, one step")
    parser.add_argument("--rate", type=float, help="questions a second, instead of 1,000 users'")
    parser.add_argument("--only-users", action="store_true", help="leave out the rising rates and the answers at once")
    return parser.parse_args()


def show(asked: Asked) -> Asked:
    print(figures.table(HEADER, [row(asked)]).splitlines()[-1], complaints(asked), sep="\n", flush=True)
    return asked


def find_knee(busy: BusyWorld, plan: Plan, begin: Asked) -> Asked:
    """Raise the rate until it does not hold; return the last run that did, or the first if none did."""
    held = begin
    for step in count(1):
        if step > plan.steps or not holds(held):
            return held
        rate = round(begin.per_second * plan.step_factor**step, 1)
        asked = show(busy.ask(round(rate * plan.step_seconds), rate))
        if not holds(asked):
            print(f"breaks at {rate:g} a second; cores taken: {asked.costs.shares(asked.seconds)}", flush=True)
            return held
        held = asked
    return held


def bytes_of_a_stream() -> float:
    """Return what one answer takes in Redis, on average of those there are."""
    keys = islice(client().scan_iter(match=stream.key_of("*"), count=1000), SAMPLED_STREAMS)
    return statistics.mean([client().memory_usage(key) or 0 for key in keys])


def holds(asked: Asked) -> bool:
    slow = figures.percentile(asked.overheads_ms, 0.95) > OVERHEAD_P95_MAX_MS
    return not (asked.errors or asked.refused or slow)


def report(machine: str, users: Asked, knee: Asked, held: Asked) -> None:
    overhead = figures.spread(users.overheads_ms)
    spent = users.costs.per_question(len(users.answered))
    embedding = round(1000 * users.embedding_seconds / len(users.answered), 1)
    memory = {
        name: round(max(users.costs.megabytes[name], held.costs.megabytes[name])) for name in ("celery_ai", "web")
    }
    print(f"\n{machine}\n")
    print(figures.table(("CPU ms per question", *spent, "of which embedding"), [("", *spent.values(), embedding)]))
    threads = held.costs.threads
    print(f"\n{len(held.answered)} of {len(held.samples)} answers at once came to their end;")
    print(
        f"{held.costs.sessions} Postgres sessions, {threads['web']} threads in web, {threads['celery_ai']} in celery_ai"
    )
    print(complaints(held))
    stream_bytes = bytes_of_a_stream()
    print(f"\nAn answer takes {stream_bytes / 1024:.1f} KB of Redis. What follows for more users (docs/capacity.md):\n")
    print(phases.table(spent | {"embedding": embedding}, users.costs.megabytes, stream_bytes))
    print(
        figures.last_line(
            "concurrency",
            users=round(users.per_second * PER_USER_SECONDS),
            arrivals_per_s=round(users.per_second, 1),
            errors=len(users.errors) + len(users.refused),
            first_token_overhead_ms={name: overhead[name] for name in ("p50", "p95", "p99")},
            in_flight_held=len(held.answered),
            rss_mb=memory,
            pg_connections=max(users.costs.sessions, held.costs.sessions),
            knee_arrivals_per_s=round(knee.per_second, 1),
            cpu_ms_per_question=spent | {"embedding": embedding},
            web_threads=held.costs.threads["web"],
            redis_bytes_per_answer=round(stream_bytes),
        )
    )
