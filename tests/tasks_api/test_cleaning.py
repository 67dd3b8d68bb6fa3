"""Keeping the ledger short and true."""

import json
import time
import uuid
from datetime import timedelta

import pytest
from django.utils import timezone
from django_celery_results.models import TaskResult

from tasks_api import cleaning, heartbeats, sweeping, tasks
from tasks_api.models import TaskRun

pytestmark = pytest.mark.django_db


def add(state, *, days=0, **values):
    at = timezone.now() - timedelta(days=days)
    over = state in {"done", "failed", "revoked"}
    times = {"created_at": at, "queued_at": at, "started_at": at, "finished_at": at if over else None}
    return TaskRun.objects.create(name="x", queue="default", state=state, **times | values)


def left():
    return set(TaskRun.objects.values_list("state", flat=True))


def test_old_tasks_are_deleted_and_failures_are_kept_longer():
    for state in ("done", "failed", "revoked"):
        add(state, days=10)
        add(state, days=60)
    add("running", days=90)

    assert cleaning.forget_old_tasks() == 4

    assert sorted(TaskRun.objects.values_list("state", flat=True)) == ["failed", "revoked", "running"]


def test_what_is_recent_stays():
    add("done")
    add("failed")

    assert cleaning.forget_old_tasks() == 0
    assert left() == {"done", "failed"}


def test_deleting_goes_in_batches_until_one_is_short(monkeypatch):
    monkeypatch.setattr(cleaning, "BATCH", 2)
    sizes = iter([2, 2, 1, 2])

    assert cleaning.in_batches(lambda: next(sizes)) == 5
    assert cleaning.in_batches(lambda: 2, seconds=0) == 0


def test_old_results_are_deleted():
    TaskResult.objects.create(task_id="old")
    TaskResult.objects.update(date_done=timezone.now() - timedelta(days=60))
    TaskResult.objects.create(task_id="new")

    assert cleaning.forget_old_results() == 1
    assert TaskResult.objects.get().task_id == "new"


def test_a_task_whose_worker_is_gone_is_failed_and_one_that_runs_is_left(redis_client):
    boot = uuid.uuid4()
    report = {
        "boot": str(boot), "pid": 1, "pool": "prefork", "queues": [], "concurrency": 1, "active": 1, "processed": 0,
        "started_at": 0.0, "reported_at": time.time(),
    }  # fmt: skip
    redis_client.hset(heartbeats.KEY, "bg@host", json.dumps(report))
    alive = add("running", days=1, worker="bg@host", worker_boot=boot)
    earlier_life = add("running", days=1, worker="bg@host", worker_boot=uuid.uuid4())
    fresh = add("running", worker="new@host", worker_boot=uuid.uuid4())

    assert cleaning.close_lost() == 1

    for row in (alive, earlier_life, fresh):
        row.refresh_from_db()
    assert [row.state for row in (alive, earlier_life, fresh)] == ["running", "failed", "running"]
    assert earlier_life.error == "The worker is gone."


def test_a_task_that_nobody_took_for_a_day_is_failed_unless_it_is_for_later(redis_client):
    add("queued", days=2)
    later = add("scheduled", days=2, eta=timezone.now() + timedelta(days=1))
    add("queued")

    assert cleaning.close_lost() == 1

    later.refresh_from_db()
    assert later.state == "scheduled"


def test_the_sweeper_looks_only_now_and_then(redis_client, monkeypatch, django_assert_num_queries):
    monkeypatch.setattr(sweeping.Clock, "looked_at", -sweeping.EVERY_SECONDS)
    add("queued", days=2)

    assert sweeping.sweep() == 1
    with django_assert_num_queries(0):
        assert sweeping.sweep() == 0


def test_the_cleaning_tasks_report_what_they_deleted(redis_client):
    add("done", days=10)

    assert tasks.cleanup_failed_tasks() == {"lost": 0, "tasks": 1, "results": 0}
    assert tasks.cleanup_old_cache() == {"idempotent_answers": 0}
