"""The history of every job, written by triggers in Postgres, and its replay.

The product pays nothing for it: the triggers are made by the benchmark in its own database. A line is written in the
transaction that it tells of, so the history is exactly what was committed, whatever was killed.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db import connection

from core.jobs import CLAIMS_MAX

MESSAGES, RUNS, PAGES, ITEMS = "chat_message", "crawl_crawlrun", "crawl_page", "knowledge_syncitem"
OVER = {"done", "failed", "skipped"}
RENEWAL_SLACK = timedelta(seconds=1)
_TABLES = {MESSAGES: "attempt", RUNS: "attempts", PAGES: "attempts", ITEMS: "attempts"}
_CREATE = """
CREATE TABLE bench_history (
    number bigserial PRIMARY KEY, at timestamptz, kind text, id text, state text, token uuid, lease_until timestamptz,
    attempts int, run text, answer text, finished_at timestamptz);
CREATE FUNCTION bench_write_history() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE was jsonb := CASE WHEN TG_OP = 'UPDATE' THEN to_jsonb(OLD) ELSE '{}' END; now jsonb := to_jsonb(NEW);
BEGIN
    IF was->>'state' IS DISTINCT FROM now->>'state' OR was->>'lease_token' IS DISTINCT FROM now->>'lease_token'
        OR was->>'lease_until' IS DISTINCT FROM now->>'lease_until' OR was->>'answer' IS DISTINCT FROM now->>'answer'
    THEN
        INSERT INTO bench_history (at, kind, id, state, token, lease_until, attempts, run, answer, finished_at)
        VALUES (clock_timestamp(), TG_TABLE_NAME, now->>'id', now->>'state', (now->>'lease_token')::uuid,
            (now->>'lease_until')::timestamptz, (now->>TG_ARGV[0])::int, now->>'run_id', md5(now->>'answer'),
            (now->>'finished_at')::timestamptz);
    END IF;
    RETURN NULL;
END $$;
"""
_TRIGGER = """
CREATE TRIGGER bench_history AFTER INSERT OR UPDATE ON {table} FOR EACH ROW
EXECUTE FUNCTION bench_write_history('{attempts}')
"""


@dataclass(frozen=True)
class Line:
    """One committed change of a job."""

    at: datetime
    kind: str
    id: str
    state: str
    token: Any
    lease_until: datetime | None
    attempts: int
    run: str | None
    answer: str | None
    finished_at: datetime | None


@dataclass
class Verdict:
    """What the replay found. ``cut`` are the claims that another had to follow: last sign of life, next claim."""

    impossible: list[str] = field(default_factory=list)
    closed: Counter[tuple[str, str, str | None]] = field(default_factory=Counter)
    changed_after_end: set[str] = field(default_factory=set)
    cut: list[tuple[str, datetime, datetime]] = field(default_factory=list)
    first_claims: dict[str, tuple[datetime, datetime]] = field(default_factory=dict)  # message: accepted, claimed


def begin() -> None:
    """Write the history from here on."""
    with connection.cursor() as cursor:
        cursor.execute(_CREATE)
        for table, attempts in _TABLES.items():
            cursor.execute(_TRIGGER.format(table=table, attempts=attempts))


def read() -> list[Line]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT at, kind, id, state, token, lease_until, attempts, run, answer, finished_at "
            "FROM bench_history ORDER BY number"
        )
        return [Line(*row) for row in cursor.fetchall()]


def replay(lines: Iterable[Line]) -> Verdict:
    """Go through each job's changes in their order and check every step."""
    verdict = Verdict()
    jobs: defaultdict[tuple[str, str], list[Line]] = defaultdict(list)
    for line in lines:
        jobs[line.kind, line.id].append(line)
    for job in jobs.values():
        _replay(job, verdict)
    return verdict


def _replay(job: list[Line], verdict: Verdict) -> None:
    before: Line | None = None
    alive_at = job[0].at
    for line in job:
        verdict.impossible += [f"{line.kind} {line.id}: {complaint}" for complaint in _complaints(before, line)]
        was_over = before is not None and before.state in OVER
        if line.state in OVER and not was_over:
            verdict.closed[line.kind, line.id, line.run] += 1
        if line.kind == MESSAGES and before is not None and was_over:
            verdict.changed_after_end.add(line.id)
        if before is not None and line.token is not None and line.token != before.token:
            if before.token is not None:
                verdict.cut.append((line.kind, alive_at, line.at))
            elif line.kind == MESSAGES and line.attempts == 1:
                verdict.first_claims[line.id] = (job[0].at, line.at)
        if line.lease_until is None or line.lease_until > line.at:  # else it was ended for a worker that is dead
            alive_at = line.at
        before = line


def _complaints(before: Line | None, line: Line) -> list[str]:
    """Return which rules of docs/ledger.md the change breaks."""
    is_over, is_held = line.state in OVER, line.token is not None
    shown = f"{line.state}, lease {line.token}, attempt {line.attempts}, end {line.finished_at}"
    broken = {
        "a lease without its token, or a token without its lease": is_held != (line.lease_until is not None),
        "over, and still held by a worker": is_over and is_held,
        "running without a worker, or the other way round": (
            line.kind in (MESSAGES, ITEMS) and is_held != (line.state == "running")
        ),
        "over without an end, or the other way round": (
            line.kind in (MESSAGES, RUNS) and is_over != (line.finished_at is not None)
        ),
        "taken too often": line.kind == MESSAGES and line.attempts > CLAIMS_MAX,
    }
    if before is not None:
        was_over, was_held = before.state in OVER, before.token is not None
        broken |= {
            "taken from a worker whose lease had not ended": (
                is_held and was_held and line.token != before.token and line.at < before.lease_until
            ),
            "open again after its end": line.kind == MESSAGES and was_over and not is_over,
            "answered by nobody": line.kind == MESSAGES
            and line.state == "done"
            and not (is_over and (was_held or was_over)),
        }
    return [f"{complaint} ({shown})" for complaint, is_true in broken.items() if is_true]


def recoveries(verdict: Verdict, kills: list[datetime], late: timedelta) -> list[float]:
    """Return in seconds how long each cut job waited for the next worker, and each question that began late.

    A claim shows life at least every `JOB_RENEW_SECONDS`; so what ended it is a kill after its last sign of life, and
    taking the first of those errs to the long side. A question that began late counts from the last kill before that,
    or from its acceptance.
    """
    waits = []
    for _kind, alive_at, taken_at in verdict.cut:
        after = [kill for kill in kills if alive_at - RENEWAL_SLACK <= kill < taken_at]
        waits.append((taken_at - (max(after[0], alive_at) if after else alive_at)).total_seconds())
    for accepted_at, taken_at in verdict.first_claims.values():
        if taken_at - accepted_at > late:
            waits.append((taken_at - accepted_at).total_seconds())
    return waits
