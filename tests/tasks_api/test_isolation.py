"""The proof that chat does not wait, without workers: what it says then, and that it leaves nothing behind."""

import json
import time
import uuid
from io import StringIO

import pytest
from django.core.management import call_command

from chat.models import Message
from core import queues
from knowledge.models import Document
from tasks_api import heartbeats, isolation
from tasks_api.isolation import Measured, Plan, Spread, judge
from tasks_api.models import IsolationProof, TaskRun
from tenants.models import Tenant

PLAN = Plan()


def measured(p99, *, answered=10):
    return Measured(10, answered, Spread(p99, p99, p99), Spread(p99, p99, p99))


@pytest.mark.parametrize(
    ("idle", "loaded", "reason"),
    [
        (measured(20), measured(30), ""),
        (measured(5), measured(isolation.NEGLIGIBLE_MS), ""),  # ten times as long, and still nothing
        (measured(80), measured(240), ""),
        (measured(20), measured(251), "waited 251 ms (p99); 250 ms are allowed"),
        (measured(20), measured(61), "more than 3 ×"),
        (measured(20), measured(20, answered=9), "1 of 10 questions were not answered"),
        (measured(None, answered=0), measured(None, answered=0), "10 of 10"),
    ],
)
def test_the_promise_is_judged_by_the_wait_under_load(idle, loaded, reason):
    judged = judge(idle, loaded, PLAN)

    assert reason in judged
    assert bool(judged) == bool(reason)


def report_workers(redis_client, **reads):
    """Let these workers seem to live."""
    for name, names in reads.items():
        body = {
            "boot": str(uuid.uuid4()), "pid": 1, "pool": "prefork", "queues": names, "concurrency": 1, "active": 0,
            "processed": 0, "started_at": time.time(), "reported_at": time.time(),
        }  # fmt: skip
        redis_client.hset(heartbeats.KEY, f"{name}@host", json.dumps(body))


def prove(*options):
    """Run the command and return its exit status and what it printed."""
    out = StringIO()
    with pytest.raises(SystemExit) as stopped:
        call_command("prove_isolation", "--questions", "3", "--per-second", "100", *options, stdout=out, stderr=out)
    return stopped.value.code, out.getvalue()


def assert_nothing_is_left(redis_client):
    assert not Tenant.objects.filter(slug__startswith=isolation.SLUG).exists()
    assert not any(model.objects.exists() for model in (Document, Message, TaskRun))
    assert [queues.length(redis_client, name) for name in (queues.DEFAULT, queues.LOW_PRIORITY)] == [0, 0]
    assert list(redis_client.scan_iter("chat:stream:*")) == []


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("workers", "reason"),
    [
        ({}, "No worker reads high_priority and nothing else"),
        ({"bg": [queues.DEFAULT, queues.LOW_PRIORITY]}, "No worker reads high_priority and nothing else"),
        ({"all": list(queues.NAMES)}, "lets chat wait behind other work"),
        ({"ai1": [queues.HIGH_PRIORITY]}, "No worker reads default and low_priority"),
    ],
)
def test_missing_workers_break_the_promise_and_are_kept_as_its_reason(redis_client, workers, reason):
    report_workers(redis_client, **workers)

    status, printed = prove()

    proof = IsolationProof.objects.get()
    assert status == 1
    assert reason in printed
    assert reason in proof.reason
    assert (proof.is_kept, proof.measured) == (False, {})
    assert_nothing_is_left(redis_client)


@pytest.fixture
def dead_workers(redis_client, monkeypatch):
    """Workers that report and do nothing."""
    report_workers(redis_client, ai1=[queues.HIGH_PRIORITY], bg=[queues.DEFAULT, queues.LOW_PRIORITY])
    monkeypatch.setattr(isolation, "VECTORS_SECONDS", 0)
    monkeypatch.setattr(isolation, "ANSWER_SECONDS", 0)


@pytest.mark.django_db(transaction=True)
def test_questions_that_nobody_answers_break_the_promise_and_nothing_is_left(redis_client, dead_workers):
    status, printed = prove("--json", "--backlog", "10")

    result = json.loads(printed.splitlines()[-1])
    assert status == 1
    assert result["reason"] == "3 of 3 questions were not answered."
    assert (result["loaded"]["asked"], result["loaded"]["answered"]) == (3, 0)
    assert_nothing_is_left(redis_client)


@pytest.mark.django_db(transaction=True)
def test_stopped_in_the_middle_of_the_flood_it_leaves_nothing_behind(redis_client, dead_workers, monkeypatch):
    top_up = isolation.Flood.top_up

    def top_up_and_stop(flood):
        top_up(flood)
        assert queues.length(redis_client, queues.LOW_PRIORITY) >= isolation.PAGES_PER_CRAWL
        raise KeyboardInterrupt

    monkeypatch.setattr(isolation.Flood, "top_up", top_up_and_stop)

    status, printed = prove("--backlog", "10")

    assert status == 130
    assert "taken away" in printed
    assert not IsolationProof.objects.exists()
    assert_nothing_is_left(redis_client)


@pytest.mark.django_db
def test_what_a_killed_proof_left_is_removed_by_a_later_one_but_not_one_that_may_still_run(redis_client):
    old = Tenant.objects.create(slug=f"{isolation.SLUG}old")
    Tenant.objects.filter(pk=old.pk).update(created_at=old.created_at - isolation.ABANDONED_AFTER)
    Tenant.objects.create(slug=f"{isolation.SLUG}new")

    isolation.remove_abandoned()

    assert [tenant.slug for tenant in Tenant.objects.all()] == [f"{isolation.SLUG}new"]


@pytest.mark.django_db
def test_the_proofs_are_listed_for_operators_and_the_oldest_forgotten(admin_client, monkeypatch):
    monkeypatch.setattr("tasks_api.models.PROOFS_KEPT", 2)
    for number in range(3):
        measured = {"loaded": {"wait_ms": {"p99": 31.0 + number}}}
        IsolationProof.objects.keep(is_kept=True, reason="", plan={}, measured=measured, seconds=1.0)

    page = admin_client.get("/admin/tasks_api/isolationproof/").content.decode()

    assert [f"{31 + number}.0" in page for number in range(3)] == [False, True, True]
