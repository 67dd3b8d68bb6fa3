"""What is lost when workers and the broker are killed under load: ``script/bench loss [--kills 40] [--messages 2000]``.

Questions arrive at a fixed rate while, every few seconds, one answering worker or the broker is killed without warning
or the broker's memory is wiped. A trigger in Postgres writes down every change of every message; the verdict is read
from that history, not from what the workers say.
"""

import argparse
import os
import random
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime

import redis
from django.conf import settings
from django.db import connection
from django.utils import timezone

from bench import figures, material, words
from bench.world import World
from chat import services
from chat.models import Message
from core.states import State
from tenants.models import Tenant
from tenants.services import create_tenant

SECONDS_BETWEEN_KILLS = 5.0
STANDSTILL_SECONDS = 30.0  # an open message counts as lost once nothing has moved for so long
DRAIN_SECONDS = 120.0
LATE_SECONDS = 1.0  # a first start later than this is counted as a recovery
SEED = 20261121
HISTORY = """
CREATE TABLE bench_history (
    number bigserial PRIMARY KEY, message uuid, was text, state text, attempt int, is_answer_changed boolean,
    at timestamptz DEFAULT clock_timestamp());
CREATE FUNCTION bench_write_history() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO bench_history (message, was, state, attempt, is_answer_changed)
    VALUES (NEW.id, OLD.state, NEW.state, NEW.attempt, OLD.answer IS DISTINCT FROM NEW.answer);
    RETURN NULL; END $$;
CREATE TRIGGER bench_history AFTER UPDATE ON chat_message FOR EACH ROW
    WHEN (OLD.state <> NEW.state OR OLD.attempt <> NEW.attempt OR OLD.answer <> NEW.answer)
    EXECUTE FUNCTION bench_write_history();
"""


@dataclass
class Ledger:
    """What was accepted and what was killed, with the time of each."""

    accepted: list[object] = field(default_factory=list)
    refused: int = 0
    kills: list[tuple[datetime, str]] = field(default_factory=list)


def main(here: World) -> None:
    """Run the load and the kills, wait until all is quiet, and print the verdict."""
    options = parse()
    machine = figures.machine()
    tenant = create_tenant(slug="bench")
    material.store(tenant)
    with connection.cursor() as cursor:
        cursor.execute(HISTORY)
    _server, address = here.start_server("llm", "bench.fake_llm:application", FAKE_LLM_TOKENS="10")
    model = {"LLM_BASE_URL": f"{address}/v1", "LLM_API_KEY": "none", "LLM_MODEL": "fake"}
    workers, _sweeper = here.start_services("celery_ai", "sweeper", **model)
    ledger = Ledger()
    killing = threading.Thread(target=kill_at_random, args=(here, workers, options.kills, ledger))
    killing.start()
    ask_at_fixed_rate(tenant, options.messages, options.kills * SECONDS_BETWEEN_KILLS + 4, ledger)
    killing.join()
    drained = drain(ledger)
    report(machine, ledger, drained)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="script/bench loss", description=__doc__)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--messages", type=int, default=2000)
    return parser.parse_args()


def ask_at_fixed_rate(tenant: Tenant, count: int, seconds: float, ledger: Ledger) -> None:
    """Ask in parallel, so that a broker that hangs delays one question and not the schedule."""
    begin = time.monotonic()
    with ThreadPoolExecutor(32) as pool:
        for number in range(count):
            time.sleep(max(0.0, begin + seconds * number / count - time.monotonic()))
            pool.submit(ask, tenant, number, ledger)


def ask(tenant: Tenant, number: int, ledger: Ledger) -> None:
    try:
        message = services.ask(tenant=tenant, question=words.question(number), user_id=f"user-{number}")
        ledger.accepted.append(message.pk)
    except Exception as exc:  # whatever it is, the question was not accepted
        ledger.refused += 1
        print(f"refused: {exc!r}", flush=True)
    finally:
        connection.close()


def kill_at_random(here: World, workers: subprocess.Popen[bytes], kills: int, ledger: Ledger) -> None:
    """Of eight kills six hit a worker, one the broker, and one wipes the broker's memory."""
    dice = random.Random(SEED)
    for number in range(kills):
        time.sleep(SECONDS_BETWEEN_KILLS * dice.uniform(0.8, 1.2))
        kind = {1: "broker killed", 3: "broker wiped"}.get(number % 8, "worker killed")
        ledger.kills.append((timezone.now(), kind))
        if kind == "worker killed":
            kill_worker(workers.pid, dice)
        elif kind == "broker killed":
            kill_broker(here, number)
        else:
            redis.Redis.from_url(settings.REDIS_URL).flushall()


def kill_worker(supervisor: int, dice: random.Random) -> None:
    """Kill one worker as the kernel would; its process manager starts another."""
    workers = [pid for pid in figures.descendants(supervisor) if pid != supervisor]
    if workers:
        os.kill(dice.choice(workers), signal.SIGKILL)


def kill_broker(here: World, number: int) -> None:
    server = redis.Redis.from_url(settings.REDIS_URL).info("server")
    os.kill(server["process_id"], signal.SIGKILL)
    process = here.start(f"broker-{number}", [server["executable"], server["config_file"]])
    here.wait_for(is_broker_up, "the broker did not come back", process=process, log=f"broker-{number}")


def is_broker_up() -> bool:
    try:
        return bool(redis.Redis.from_url(settings.REDIS_URL).ping())
    except redis.RedisError:
        return False


def drain(ledger: Ledger) -> float:
    """Wait while accepted messages are open and their number still falls; return how long that took in seconds."""
    begin = moved = time.monotonic()
    still_open = Message.objects.filter(pk__in=ledger.accepted, state__in=[State.QUEUED, State.RUNNING])
    left = still_open.count()
    while left and time.monotonic() < min(moved + STANDSTILL_SECONDS, begin + DRAIN_SECONDS):
        time.sleep(0.5)
        before, left = left, still_open.count()
        moved = time.monotonic() if left < before else moved
    return time.monotonic() - begin


def report(machine: str, ledger: Ledger, drained: float) -> None:
    """Read the verdict from the history and print it."""
    states = dict(Message.objects.filter(pk__in=ledger.accepted).values_list("pk", "state"))
    verdict = {
        "messages": len(ledger.accepted),
        "refused": ledger.refused,
        "kills": {
            kind: sum(1 for _at, of in ledger.kills if of == kind) for kind in sorted({k for _, k in ledger.kills})
        },
        "lost": sum(1 for pk in ledger.accepted if states.get(pk) in {None, State.QUEUED, State.RUNNING}),
        "failed": sum(1 for state in states.values() if state == State.FAILED),
        "second_answers": second_answers(),
    }
    starts, again = recoveries(ledger)
    in_seconds = {"recovery_s": figures.spread(again), "start_wait_s": figures.spread(starts)}
    print(f"{machine}; {verdict['messages']} questions, drained {drained:.1f} s after the last\n")
    rows = [(name, value) for name, value in (verdict | in_seconds).items()]
    print(figures.table(("figure", "value"), rows))
    print(figures.last_line("loss", **(verdict | in_seconds)))


def second_answers() -> int:
    """Count messages that were closed twice, or whose answer changed after they were closed."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(DISTINCT message) FROM (SELECT message, was, is_answer_changed, "
            "row_number() OVER (PARTITION BY message, state IN ('done', 'failed') ORDER BY number) AS nth, state "
            "FROM bench_history) AS h WHERE (state IN ('done', 'failed') AND nth > 1) OR was IN ('done', 'failed')"
        )
        return cursor.fetchone()[0]


def recoveries(ledger: Ledger) -> tuple[list[float], list[float]]:
    """Return each message's wait for its first start, and each recovery, in seconds.

    A recovery is the time from the last kill to the start of a further attempt, or a first start that came late.
    """
    created = dict(Message.objects.filter(pk__in=ledger.accepted).values_list("pk", "created_at"))
    with connection.cursor() as cursor:
        cursor.execute("SELECT message, attempt, at FROM bench_history WHERE state = 'running' AND was <> 'done' "
                       "AND NOT is_answer_changed ORDER BY number")  # fmt: skip
        begun = cursor.fetchall()
    starts, again = [], []
    for message, attempt, at in begun:
        if attempt == 1:
            starts.append((at - created[message]).total_seconds())
        else:
            again.append(min((at - killed).total_seconds() for killed, _kind in ledger.kills if killed < at))
    return starts, again + [wait for wait in starts if wait > LATE_SECONDS]
