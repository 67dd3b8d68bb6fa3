"""What others notice of a question that kills its worker: ``script/bench poison [--quick]``.

Others ask at a fixed rate and read their streams, first alone, then while deadly questions are asked: one kills the
process that answers it at once, the next after a second, as a memory that fills up would.
"""

import argparse
import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import httpx2
from django.db import connection

from bench import figures, history, material, resuming, words
from bench.crash import start_product
from bench.resuming import Read
from bench.world import World, stop
from chat.models import Message
from core.jobs import CLAIMS_MAX
from core.states import OPEN_STATES

PER_SECOND = 6.0
EVERY_SECONDS = 12.0  # one deadly question
FIRST_AFTER_SECONDS = 3.0
WARM = 12
END_SECONDS = 90.0  # for the last deadly question to be given up
FULL, QUICK = 6, 2
DEADLY = (f"Is this {words.DEADLY}?", f"Is this {words.SLOWLY} {words.DEADLY}?")


@dataclass
class Seen:
    """What others saw in one of the two phases."""

    reads: list[Read]
    waits: list[float]  # until a worker first took the question

    def spreads(self) -> dict[str, dict[str, float | int]]:
        return {
            "wait_ms": _spread_ms(self.waits),
            "first_word_ms": _spread_ms([read.first_word_s for read in self.reads]),
            "whole_answer_ms": _spread_ms([read.whole_s for read in self.reads]),
        }


def _spread_ms(seconds: Iterable[float | None]) -> dict[str, float | int]:
    return figures.spread([1000 * value for value in seconds if value is not None])


def main(here: World) -> None:
    """Run both phases, and print what others saw and how the deadly questions ended."""
    poisons = parse()
    machine = figures.machine()
    (_tenant, key), (stranger, deadly_key) = material.make_tenant(), material.make_tenant("deadly")
    history.begin()
    started, address = start_product(here, DJANGO_SETTINGS_MODULE="bench.deadly")
    asyncio.run(resuming.ask_all(address, key, count=WARM, per_second=PER_SECOND))
    count = round((FIRST_AFTER_SECONDS + poisons * EVERY_SECONDS) * PER_SECOND)
    alone = asyncio.run(ask(address, key, count))
    beside = asyncio.run(ask(address, key, count, deadly_key, poisons))
    wait_for_the_end()
    report(machine, alone, beside, list(Message.objects.filter(tenant=stranger)))
    for process in started.values():
        stop(process)


def parse() -> int:
    parser = argparse.ArgumentParser(prog="script/bench poison", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two deadly questions instead of six")
    return QUICK if parser.parse_args().quick else FULL


async def ask(address: str, key: str, count: int, deadly_key: str = "", poisons: int = 0) -> Seen:
    """Have others ask, and meanwhile so many deadly questions; return what the others saw."""
    async with asyncio.TaskGroup() as group:
        group.create_task(_poison(address, deadly_key, poisons))
        reading = group.create_task(resuming.ask_all(address, key, count=count, per_second=PER_SECOND))
    reads = reading.result()
    return Seen(reads, await asyncio.to_thread(_waits, [read.message_id for read in reads]))


async def _poison(address: str, key: str, count: int) -> None:
    begin = time.monotonic() + FIRST_AFTER_SECONDS
    async with httpx2.AsyncClient(base_url=address, trust_env=False) as client:
        for number in range(count):
            await asyncio.sleep(max(0.0, begin + number * EVERY_SECONDS - time.monotonic()))
            body = {"question": DEADLY[number % len(DEADLY)], "user_id": f"deadly-{number}"}
            headers = {"X-API-Key": key, "Prefer": "respond-async"}
            (await client.post("/api/v1/query/", json=body, headers=headers)).raise_for_status()


def _waits(message_ids: list[str]) -> list[float]:
    """Return how long each question waited for its first claim, in seconds."""
    claims = history.replay(history.read()).first_claims
    connection.close()
    return [(claims[pk][1] - claims[pk][0]).total_seconds() for pk in message_ids if pk in claims]


def wait_for_the_end() -> None:
    deadline = time.monotonic() + END_SECONDS
    while Message.objects.filter(state__in=OPEN_STATES).exists() and time.monotonic() < deadline:
        time.sleep(0.2)


def report(machine: str, alone: Seen, beside: Seen, deadly: Sequence[Message]) -> None:
    """Print both phases side by side, and the fate of each deadly question."""
    rows = {str(message.pk): message for message in Message.objects.all()}
    others = [rows[read.message_id] for read in beside.reads if read.message_id]
    verdict = history.replay(history.read())
    result = {
        "poisons": len(deadly),
        "given_up_after": sorted({message.attempt for message in deadly}),
        "reasons": sorted({message.error for message in deadly}),
        "given_up_within_s": max((m.finished_at - m.created_at).total_seconds() for m in deadly if m.finished_at),
        "others": len(beside.reads),
        "others_answered": sum(message.state == "done" for message in others),
        "others_cut": sum(message.attempt > 1 for message in others),
        "others_cut_twice": sum(message.attempt >= CLAIMS_MAX for message in others),
        "impossible_rows": len(verdict.impossible),
    }
    before, after = alone.spreads(), beside.spreads()
    print(f"{machine}\n\n{figures.table(('figure', 'value'), result.items())}\n")
    header = ("others, ms", "alone p50", "p99", "max", "beside poison p50", "p99", "max")
    names = ("p50", "p99", "max")
    print(figures.table(header, [
        (what, *(before[what][name] for name in names), *(after[what][name] for name in names)) for what in before
    ]))  # fmt: skip
    short = {
        phase: {what: {name: spreads[what][name] for name in names} for what in spreads}
        for phase, spreads in (("alone", before), ("beside", after))
    }
    print(figures.last_line("poison", **result, **short))
