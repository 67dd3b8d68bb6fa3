"""The addresses below ``/api/v1/tasks/``."""

import json
import time
import uuid
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

from core import brownout, waits
from core.celery import app
from tasks_api import heartbeats
from tasks_api.models import TaskRun
from tenants.services import create_api_key, create_operator_key, create_tenant
from tests.tasks_api import tasks  # noqa: F401 -- registers "tests.succeed"

pytestmark = pytest.mark.django_db
LIST = "/api/v1/tasks/list"


class Caller:
    def __init__(self, key):
        self.client = Client(headers={"X-API-Key": key})

    def get(self, path, **params):
        return self.client.get(path, params)

    def post(self, path, body=None):
        return self.client.post(path, data=json.dumps(body or {}), content_type="application/json")

    def patch(self, path, body):
        return self.client.patch(path, data=json.dumps(body), content_type="application/json")


@pytest.fixture
def tenant():
    return create_tenant(slug="acme")


@pytest.fixture
def caller(tenant):
    return Caller(create_api_key(tenant=tenant, name="server")[1])


@pytest.fixture
def operator(db):
    return Caller(create_operator_key(name="platform")[1])


def add_task(tenant=None, **values):
    return TaskRun.objects.create(**{"name": "tests.succeed", "queue": "default", "tenant": tenant} | values)


def ids(response):
    return [row["task_id"] for row in response.json()["data"]]


def test_status_tells_where_a_task_stands(caller, tenant):
    run = add_task(tenant, state="running", worker="bg@host", arguments={"run_id": str(tenant.pk)})

    body = caller.get(f"/api/v1/tasks/status/{run.pk}").json()

    assert body["task_id"] == str(run.pk)
    assert (body["state"], body["queue"], body["worker"], body["tenant"]) == ("running", "default", "bg@host", "acme")
    assert body["arguments"] == {"run_id": str(tenant.pk)}


def test_status_of_an_unknown_task_is_404_and_not_pending(caller):
    response = caller.get(f"/api/v1/tasks/status/{uuid.uuid4()}")

    assert response.status_code == 404
    assert response.headers["Content-Type"] == "application/problem+json"


def test_status_of_something_that_is_no_task_id_is_404(caller):
    assert caller.get("/api/v1/tasks/status/nonsense").status_code == 404


@pytest.mark.parametrize("action", ["status", "revoke", "retry"])
def test_another_tenants_task_and_the_platforms_are_404(caller, action):
    for owner in (create_tenant(slug="other"), None):
        path = f"/api/v1/tasks/{action}/{add_task(owner, state='failed').pk}"
        assert (caller.get(path) if action == "status" else caller.post(path)).status_code == 404


def test_an_operator_sees_every_task(operator, tenant):
    run = add_task(tenant)

    assert operator.get(f"/api/v1/tasks/status/{run.pk}").status_code == 200


def test_every_address_works_with_and_without_a_trailing_slash(caller, tenant):
    run = add_task(tenant)

    assert caller.get(f"/api/v1/tasks/status/{run.pk}/").status_code == 200
    assert caller.get(LIST + "/").status_code == 200


def test_list_holds_the_tenants_own_active_tasks_the_newest_first(caller, tenant):
    old = add_task(tenant, state="running", created_at=timezone.now() - timedelta(minutes=2))
    new = add_task(tenant, state="scheduled")
    add_task(tenant, state="done")
    add_task(create_tenant(slug="other"))
    add_task()

    assert ids(caller.get(LIST)) == [str(new.pk), str(old.pk)]


def test_list_filters_by_queue_name_and_state(caller, tenant):
    wanted = add_task(tenant, name="crawl.process_page_content", queue="low_priority", state="failed")
    add_task(tenant, name="crawl.process_page_content", queue="low_priority")
    add_task(tenant, state="failed")

    response = caller.get(LIST, queue="low_priority", name="crawl.process_page_content", state="failed,revoked")

    assert ids(response) == [str(wanted.pk)]


def test_list_refuses_a_state_that_does_not_exist(caller):
    response = caller.get(LIST, state="pending")

    assert (response.status_code, response.json()["code"]) == (400, "filter_invalid")


def test_list_pages_neither_skip_nor_repeat_while_tasks_come_in(caller, tenant):
    moment = timezone.now()
    rows = [add_task(tenant, created_at=moment - timedelta(seconds=number // 2)) for number in range(5)]  # ties
    first = caller.get(LIST, limit=2)
    add_task(tenant, created_at=moment + timedelta(seconds=1))

    second = caller.get(LIST, limit=2, starting_after=first.json()["next_cursor"])
    link = second.headers["Link"].partition(">")[0].removeprefix("<http://testserver")
    third = caller.client.get(link)

    seen = ids(first) + ids(second) + ids(third)
    assert sorted(seen) == sorted(str(row.pk) for row in rows)
    assert [page.json()["has_more"] for page in (first, second, third)] == [True, True, False]
    assert "Link" not in third.headers


@pytest.mark.parametrize("params", [{"limit": "0"}, {"limit": "201"}, {"limit": "x"}, {"starting_after": "!"}])
def test_list_refuses_a_page_that_cannot_be(caller, params):
    assert caller.get(LIST, **params).status_code == 400


def test_list_asks_the_database_twice_however_long_it_is(caller, tenant, django_assert_num_queries):
    for _ in range(30):
        add_task(tenant)

    with django_assert_num_queries(2):  # the key with its tenant; the tasks with theirs
        caller.get(LIST)


def test_revoking_a_waiting_task_ends_it_at_once(caller, tenant):
    run = add_task(tenant)

    response = caller.post(f"/api/v1/tasks/revoke/{run.pk}")

    assert (response.status_code, response.json()["state"]) == (200, "revoked")
    assert caller.post(f"/api/v1/tasks/revoke/{run.pk}").status_code == 200  # again changes nothing


def test_revoking_a_task_that_is_over_is_a_conflict(caller, tenant):
    run = add_task(tenant, state="done")

    response = caller.post(f"/api/v1/tasks/revoke/{run.pk}")

    assert (response.status_code, response.json()["code"]) == (409, "task_over")


def test_a_failed_task_runs_again_under_a_new_id_for_the_same_tenant(caller, tenant, redis_client):
    run = add_task(tenant, state="failed", arguments={"item_id": 3})

    response = caller.post(f"/api/v1/tasks/retry/{run.pk}")

    assert response.status_code == 202
    again = TaskRun.objects.get(pk=response.json()["task_id"])
    assert (again.tenant, again.arguments, again.state) == (tenant, {"item_id": 3}, "queued")


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"state": "running"}, "task_not_over"),
        ({"state": "done"}, "task_not_over"),
        ({"state": "failed", "name": "chat.answer_message_task"}, "task_not_retriable"),
        ({"state": "failed", "arguments": {"text": None}}, "task_not_retriable"),
        ({"state": "failed", "name": "gone.task"}, "task_unknown"),
    ],
)
def test_what_cannot_be_run_again_says_why(caller, tenant, values, code):
    response = caller.post(f"/api/v1/tasks/retry/{add_task(tenant, **values).pk}")

    assert (response.status_code, response.json()["code"]) == (409, code)


def test_a_trigger_starts_its_task_and_returns_the_id(operator, redis_client):
    for name, task in (
        ("cleanup-cache", "tasks_api.cleanup_old_cache"),
        ("reset-daily-limits", "tenants.reset_all_daily_limits"),
        ("send-statistics", "tenants.send_usage_statistics"),
    ):
        response = operator.post(f"/api/v1/tasks/trigger/{name}")

        assert response.status_code == 202
        assert TaskRun.objects.get(pk=response.json()["task_id"]).name == task


def test_a_trigger_without_a_broker_is_503_and_leaves_no_waiting_row(operator, monkeypatch):
    with app.connection_for_write("redis://127.0.0.1:1/0") as nobody:
        monkeypatch.setattr(app, "producer_or_acquire", lambda _producer=None: nobody.Producer())
        response = operator.post("/api/v1/tasks/trigger/cleanup-cache")

    assert (response.status_code, response.json()["code"]) == (503, "broker_unavailable")
    assert not TaskRun.objects.filter(state="queued").exists()


def test_the_queues_tell_length_age_and_readers(operator, tenant, redis_client):
    redis_client.rpush("low_priority", "a", "b")
    add_task(tenant, queue="low_priority", queued_at=timezone.now() - timedelta(seconds=90))
    add_task(queue="low_priority", state="running")
    report_worker(redis_client, "bg@host", queues=["default", "low_priority"])
    report_worker(redis_client, "old@host", queues=["low_priority"], reported_at=time.time() - 60)

    queues = {row["name"]: row for row in operator.get("/api/v1/tasks/queues").json()}

    assert list(queues) == ["high_priority", "default", "low_priority"]
    low = queues["low_priority"]
    assert (low["length"], low["queued"], low["running"]) == (2, 1, 1)
    assert 90 <= low["oldest_age_seconds"] < 120
    assert low["consumers"] == ["bg@host"]
    assert queues["high_priority"]["consumers"] == []


def test_the_queues_tell_how_long_tasks_waited_and_what_is_slowed_for_the_chat(operator, redis_client):
    recorder = waits.Recorder()
    recorder.count("high_priority", "wait", 0.016)
    recorder.count("low_priority", "run", 2.0)
    recorder.write()
    redis_client.set(brownout.KEY, json.dumps({"level": 2}))

    queues = {row["name"]: row for row in operator.get("/api/v1/tasks/queues").json()}

    assert queues["high_priority"]["wait_ms"] == {"count": 1, "p50": 16.0, "p95": 16.0, "p99": 16.0}
    assert queues["default"]["wait_ms"] == {"count": 0, "p50": None, "p95": None, "p99": None}
    assert queues["low_priority"]["run_ms"]["count"] == 1
    assert [row["brownout_level"] for row in queues.values()] == [0, 0, 2]


def test_workers_are_listed_with_the_age_of_their_heartbeat(operator, redis_client):
    report_worker(redis_client, "ai1@host", pool="threads", reported_at=time.time() - 30)
    report_worker(redis_client, "gone@host", reported_at=time.time() - 3600)

    (worker,) = operator.get("/api/v1/tasks/workers").json()

    assert (worker["name"], worker["pool"], worker["is_alive"]) == ("ai1@host", "threads", False)
    assert 30 <= worker["heartbeat_age_seconds"] < 60


def report_worker(redis_client, name, **values):
    body = {
        "boot": str(uuid.uuid4()), "pid": 7, "pool": "prefork", "queues": ["default"], "concurrency": 2, "active": 0,
        "processed": 0, "started_at": time.time(), "reported_at": time.time(),
    }  # fmt: skip
    redis_client.hset(heartbeats.KEY, name, json.dumps(body | values))


@pytest.fixture
def hourly(db):
    every = IntervalSchedule.objects.create(every=3600, period="seconds")
    return PeriodicTask.objects.create(
        name="hourly", task="tasks_api.cleanup_old_cache", interval=every, last_run_at=timezone.now()
    )


def test_schedules_tell_when_they_ran_and_run_next(operator, hourly):
    (row,) = operator.get("/api/v1/tasks/schedules").json()

    assert (row["name"], row["enabled"], row["is_late"]) == ("hourly", True, False)
    assert row["next_run_at"] > row["last_run_at"]


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tehran", "America/New_York"])
def test_a_daily_schedule_is_due_at_its_own_midnight_and_late_after_it(operator, zone):
    midnight = CrontabSchedule.objects.create(minute="0", hour="0", timezone=zone)
    row = PeriodicTask.objects.create(name="daily", task="tests.succeed", crontab=midnight, last_run_at=timezone.now())
    local_next = operator.get(f"/api/v1/tasks/schedules/{row.pk}").json()
    PeriodicTask.objects.filter(pk=row.pk).update(last_run_at=timezone.now() - timedelta(days=2))

    assert local_next["is_late"] is False
    assert operator.get(f"/api/v1/tasks/schedules/{row.pk}").json()["is_late"] is True


def test_a_schedule_is_switched_off_and_on_again(operator, hourly):
    path = f"/api/v1/tasks/schedules/{hourly.pk}"

    off = operator.patch(path, {"enabled": False}).json()
    on = operator.patch(path, {"enabled": True}).json()

    assert (off["enabled"], off["next_run_at"]) == (False, None)
    assert (on["enabled"], on["is_late"]) == (True, False)


def test_a_schedule_change_without_a_value_is_invalid(operator, hourly):
    response = operator.patch(f"/api/v1/tasks/schedules/{hourly.pk}", {})

    assert response.json()["errors"] == [
        {"pointer": "/enabled", "code": "required", "detail": "This field is required."}
    ]


def test_a_schedule_runs_now_without_losing_its_rhythm(operator, hourly, redis_client):
    response = operator.post(f"/api/v1/tasks/schedules/{hourly.pk}/run")

    assert response.status_code == 202
    assert TaskRun.objects.get(pk=response.json()["task_id"]).name == "tasks_api.cleanup_old_cache"
    before = hourly.last_run_at
    hourly.refresh_from_db()
    assert hourly.last_run_at == before


@pytest.mark.parametrize("path", ["workers", "queues", "schedules"])
def test_the_platforms_own_addresses_refuse_a_tenants_key(caller, path):
    response = caller.get(f"/api/v1/tasks/{path}")

    assert (response.status_code, response.json()["code"]) == (403, "operator_key_required")


def test_a_key_without_the_scope_is_refused_by_name(tenant):
    caller = Caller(create_api_key(tenant=tenant, name="widget", scopes=["query"])[1])

    response = caller.get(LIST)

    assert (response.status_code, response.json()["code"]) == (403, "scope_missing")
    assert "tasks" in response.json()["detail"]
