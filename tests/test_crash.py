"""Kill workers, Redis and Postgres while questions are asked and a site is crawled: nothing is lost or done twice."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from django.conf import settings

from bench import history
from bench.history import MESSAGES, PAGES, Line


@pytest.mark.slow
def test_nothing_is_lost_or_done_twice_when_workers_and_services_are_killed():
    done = subprocess.run(
        [sys.executable, "-m", "bench", "crash", "--quick", "--questions", "60", "--pages", "8", "--gap", "2"],
        cwd=settings.BASE_DIR,
        env=os.environ | {"DATABASE_URL": "", "REDIS_URL": ""},  # the bench starts its own
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    verdict = json.loads(done.stdout.splitlines()[-1])

    assert verdict["accepted"] == 60, done.stdout
    wrong = ("lost", "answered_twice", "impossible_rows", "pages_missing", "pages_twice")
    assert {name: verdict[name] for name in wrong} == dict.fromkeys(wrong, 0), done.stdout
    assert (verdict["worker_kills"], verdict["redis_kills"], verdict["postgres_kills"]) == (8, 1, 1)


BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
ONE, TWO = "one", "two"


def line(second, state, token=None, *, kind=MESSAGES, attempts=0, answer="", run=None):
    at = BEGIN + timedelta(seconds=second)
    is_over = kind == MESSAGES and state in ("done", "failed")
    return Line(at, kind, "1", state, token, token and at + timedelta(seconds=10), attempts, run, answer,
                at if is_over else None)  # fmt: skip


QUEUED, TAKEN = line(0, "queued"), line(1, "running", ONE, attempts=1)
DONE = line(3, "done", attempts=1, answer="a")


def test_the_replay_finds_nothing_in_a_history_as_it_should_be():
    verdict = history.replay([QUEUED, TAKEN, line(12, "running", TWO, attempts=2), line(14, "done", attempts=2)])

    assert verdict.impossible == []
    assert list(verdict.closed.values()) == [1]
    assert verdict.changed_after_end == set()
    assert history.recoveries(verdict, [BEGIN + timedelta(seconds=3)], timedelta(seconds=5)) == [9]


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        ([QUEUED, TAKEN, line(5, "running", TWO, attempts=2)], "lease had not ended"),
        ([QUEUED, TAKEN, DONE, line(4, "running", TWO, attempts=2)], "open again"),
        ([QUEUED, TAKEN, line(2, "running", attempts=1)], "running without a worker"),
        ([QUEUED, line(2, "done", TWO)], "still held"),
        ([QUEUED, line(2, "done")], "answered by nobody"),
        ([QUEUED, line(2, "running", ONE, attempts=4)], "taken too often"),
    ],
)
def test_the_replay_sees_what_cannot_be(lines, complaint):
    assert complaint in " ".join(history.replay(lines).impossible)


def test_the_replay_sees_a_second_answer_and_a_page_done_twice():
    verdict = history.replay([QUEUED, TAKEN, DONE, line(4, "done", attempts=1, answer="b")])
    assert verdict.changed_after_end == {"1"}

    states = ["queued", "fetched", "done", "queued", "fetched", "done"]
    pages = [line(number, state, kind=PAGES, run="r") for number, state in enumerate(states)]
    assert list(history.replay(pages).closed.values()) == [2]
