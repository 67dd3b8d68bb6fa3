"""Keeping the ledger short and true."""

import json
import time
import uuid
from datetime import timedelta

import pytest
from django.contrib.sessions.models import Session
from django.core.management import call_command
from django.db import OperationalError
from django.test import Client
from django.utils import timezone
from django_celery_results.models import TaskResult

from chat import stream
from core import batches
from crawl import cleaning as crawl
from crawl.models import Page, PageBody, Website
from knowledge import cleaning as knowledge
from knowledge.models import Document, SyncItem
from knowledge.services import store_page
from tasks_api import cleaning, heartbeats, sweeping, tasks
from tasks_api.models import TaskRun
from tenants import cleaning as cleaning_of_tenants
from tenants import services as tenants
from tenants.models import WebhookAttempt, WebhookDelivery, WebhookEvent
from tests.workers import running_worker, wait_until

STATES = ("queued", "running", "done", "failed")

pytestmark = pytest.mark.django_db


@pytest.fixture
def tenant(db):
    return tenants.create_tenant(slug="acme")


def store(tenant, url):
    return store_page(tenant=tenant, url=url, title="", language="en", content=url, fetched_at=timezone.now())


def deliver(event, endpoint, state):
    delivery, _created = WebhookDelivery.objects.update_or_create(
        tenant=endpoint.tenant, event=event, endpoint=endpoint,
        defaults={"state": state, "finished_at": timezone.now() if state in ("done", "failed") else None},
    )  # fmt: skip
    return delivery


def grow_old(days):
    at = timezone.now() - timedelta(days=days)
    WebhookEvent.objects.update(created_at=at)
    WebhookDelivery.objects.update(created_at=at)
    WebhookDelivery.objects.exclude(finished_at=None).update(finished_at=at)


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

    assert (cleaning.forget_done_tasks(9), cleaning.forget_failed_tasks(9)) == (2, 2)

    assert sorted(TaskRun.objects.values_list("state", flat=True)) == ["failed", "revoked", "running"]


def test_what_is_recent_stays():
    add("done")
    add("failed")

    assert (cleaning.forget_done_tasks(9), cleaning.forget_failed_tasks(9)) == (0, 0)
    assert left() == {"done", "failed"}


def test_old_results_are_deleted():
    TaskResult.objects.create(task_id="old")
    TaskResult.objects.update(date_done=timezone.now() - timedelta(days=60))
    TaskResult.objects.create(task_id="new")

    assert cleaning.forget_old_results(9) == 1
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


def test_expired_sessions_are_deleted():
    now = timezone.now()
    Session.objects.create(session_key="old", expire_date=now - timedelta(days=1))
    Session.objects.create(session_key="new", expire_date=now + timedelta(days=1))

    assert cleaning.forget_expired_sessions(9) == 1
    assert Session.objects.get().session_key == "new"


def test_a_stream_without_an_end_gets_one(redis_client):
    redis_client.xadd(stream.key_of("endless"), {"event": "status"})
    redis_client.xadd(stream.key_of("ending"), {"event": "status"})
    redis_client.expire(stream.key_of("ending"), 60)

    assert stream.end_endless(9) == 1
    assert stream.end_endless(9) == 0
    assert 0 < redis_client.ttl(stream.key_of("endless")) <= stream.KEEP_SECONDS
    assert redis_client.ttl(stream.key_of("ending")) <= 60


def test_a_page_keeps_its_body_only_until_its_text_is_taken(tenant):
    site = Website.objects.create(tenant=tenant, root_url="https://acme.example/")
    for state in Page.State.values:
        page = Page.objects.create(tenant=tenant, website=site, url=f"https://acme.example/{state}", state=state)
        PageBody.objects.create(tenant=tenant, page=page, compressed=b"")

    assert crawl.forget_leftover_bodies(3) == 3
    assert crawl.forget_leftover_bodies(3) == len(Page.State.values) - 4
    assert PageBody.objects.get().page.state == Page.State.FETCHED


def test_dead_letters_are_kept_for_a_while_and_their_documents_for_good(tenant):
    old, new = (store(tenant, f"https://acme.example/{n}") for n in range(2))
    SyncItem.objects.update(state="failed")
    SyncItem.objects.filter(document=old).update(not_before=timezone.now() - timedelta(days=60))

    assert knowledge.forget_dead_letters(9) == 1
    assert SyncItem.objects.get().document == new
    assert Document.objects.count() == 2


def test_deliveries_go_when_they_are_long_over_then_their_events(tenant):
    endpoint = tenants.create_endpoint(tenant=tenant, url="https://users.acme.example/hooks")[0]
    events = [tenants.emit(tenant=tenant, type="webhook.test", payload={}) for _ in STATES]
    rows = {state: deliver(event, endpoint, state) for event, state in zip(events, STATES, strict=True)}
    WebhookAttempt.objects.create(
        tenant=tenant, delivery=rows["done"], number=1, duration_ms=1, started_at=timezone.now()
    )
    assert cleaning_of_tenants.forget_old_deliveries(9) == 0

    grow_old(60)

    assert cleaning_of_tenants.forget_old_deliveries(9) == 2
    assert set(WebhookDelivery.objects.values_list("state", flat=True)) == {"queued", "running"}
    assert not WebhookAttempt.objects.exists()
    assert cleaning_of_tenants.forget_old_events(9) == 2
    assert WebhookEvent.objects.count() == 2


def test_what_waits_for_an_endpoint_that_is_switched_off_does_not_wait_for_ever(tenant):
    endpoint = tenants.create_endpoint(tenant=tenant, url="https://users.acme.example/hooks")[0]
    deliver(tenants.emit(tenant=tenant, type="webhook.test", payload={}), endpoint, "queued")
    grow_old(60)
    assert cleaning_of_tenants.forget_old_deliveries(9) == 0

    tenants.disable_endpoint(endpoint=endpoint)

    assert cleaning_of_tenants.forget_old_deliveries(9) == 1


def test_a_step_that_fails_keeps_no_other_from_its_turn():
    def broken(_limit):
        raise OperationalError("gone")

    with pytest.raises(batches.CleaningError) as failure:
        batches.run({"first": lambda _limit: 1, "broken": broken, "last": lambda _limit: 2})

    assert failure.value.counts == {"first": 1, "last": 2}
    assert isinstance(failure.value.__cause__, OperationalError)


def test_time_that_is_up_leaves_the_rest_and_gives_each_step_a_batch():
    counts = batches.run({"first": lambda limit: limit, "last": lambda limit: limit}, seconds=0)

    assert counts == {"first": batches.BATCH, "last": batches.BATCH}


def test_every_task_of_cleaning_can_be_run_twice_and_counts_each_kind(redis_client):
    add("done", days=10)
    first, second = tasks.cleanup_failed_tasks(), tasks.cleanup_failed_tasks()

    assert (first["done_tasks"], second["done_tasks"]) == (1, 0)
    assert set(first) == set(cleaning.FAILED_TASKS)
    assert set(tasks.cleanup_old_cache()) == set(cleaning.OLD_CACHE)


def test_the_command_cleans_a_part_or_all_and_prints_counts(redis_client, capsys):
    add("done", days=10)

    call_command("cleanup", "cache", "--json")
    assert set(json.loads(capsys.readouterr().out)["cache"]) == set(cleaning.OLD_CACHE)
    call_command("cleanup", "--json")
    counts = json.loads(capsys.readouterr().out)
    assert set(counts) == {"cache", "query-cache", "conversations", "tasks"}
    assert counts["tasks"]["done_tasks"] == 1
    call_command("cleanup", "tasks")
    assert "tasks: 0 done tasks" in capsys.readouterr().out


def test_the_command_says_what_failed_and_does_the_rest(redis_client, capsys, monkeypatch):
    def broken(_limit):
        raise OperationalError("gone")

    monkeypatch.setitem(cleaning.OLD_CACHE, "sessions", broken)

    with pytest.raises(SystemExit) as exit_status:
        call_command("cleanup", "cache", "--json")

    captured = capsys.readouterr()
    assert exit_status.value.code == 1
    assert "1 of" in captured.err
    assert "expired_answers" in json.loads(captured.out)["cache"]


@pytest.mark.django_db(transaction=True)
def test_the_trigger_starts_the_cleaning_in_a_real_worker(redis_client):
    operator = Client(headers={"X-API-Key": tenants.create_operator_key(name="ops")[1]})
    Session.objects.create(session_key="old", expire_date=timezone.now() - timedelta(days=1))
    with running_worker(queues=["low_priority"], concurrency=1) as worker:
        response = operator.post("/api/v1/tasks/trigger/cleanup-cache")
        results = TaskResult.objects.filter(task_id=response.json()["task_id"], status="SUCCESS")
        wait_until(results.exists, explain=lambda: worker.log)

    assert json.loads(results.get().result)["sessions"] == 1
    run = TaskRun.objects.get(pk=response.json()["task_id"])
    assert (run.name, run.queue, run.state) == ("tasks_api.cleanup_old_cache", "low_priority", "done")
    assert not Session.objects.exists()
