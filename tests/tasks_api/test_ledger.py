"""The ledger of tasks, kept by a real worker."""

import uuid
from datetime import timedelta

import pytest
from celery import current_app
from django.db import transaction
from django.utils import timezone
from structlog.contextvars import bound_contextvars

from core import enqueue, queues
from core.redis import client
from tasks_api import ledger
from tasks_api.models import TaskRun
from tenants.services import create_tenant
from tests.tasks_api import tasks
from tests.tasks_api.rows import row_in_state

HALF_AN_HOUR = timedelta(minutes=30)


def publish(task=tasks.succeed, **kwargs):
    return TaskRun.objects.get(pk=task.apply_async(**kwargs).id)


@pytest.mark.django_db
def test_a_published_task_has_a_row_before_any_worker_saw_it(redis_client):
    row = publish(kwargs={"item_id": 5})

    assert (row.state, row.name, row.queue, row.arguments) == ("queued", "tests.succeed", "default", {"item_id": 5})
    assert row.attempts == 0


@pytest.mark.django_db
def test_the_ledger_keeps_ids_and_numbers_but_no_text(redis_client):
    key = str(uuid.uuid4())

    row = publish(kwargs={"message_id": key, "batch_size": 100, "question": "what is my salary?"})

    assert row.arguments == {"message_id": key, "batch_size": 100, "question": None}


@pytest.mark.django_db
def test_a_task_for_later_is_scheduled_until_its_time(redis_client):
    row = publish(countdown=30)

    assert row.state == "scheduled"
    assert timezone.now() < row.eta < timezone.now() + HALF_AN_HOUR


@pytest.mark.django_db
def test_the_tenant_of_the_message_header_owns_the_row(redis_client):
    tenant = create_tenant(slug="acme")

    row = publish(headers=enqueue.headers_for(tenant.pk))

    assert row.tenant == tenant


@pytest.mark.django_db
def test_the_tenant_and_request_id_of_the_context_are_carried_into_the_row(redis_client):
    tenant = create_tenant(slug="acme")

    with bound_contextvars(tenant_id=str(tenant.pk), request_id="request-12345"):
        row = publish()

    assert (row.tenant, row.request_id) == (tenant, "request-12345")


@pytest.mark.django_db(transaction=True)
def test_sending_waits_for_the_commit(redis_client):
    with transaction.atomic():
        task_id = enqueue.send(tasks.succeed, {})
        assert not TaskRun.objects.filter(pk=task_id).exists()
        assert queues.length(redis_client, "default") == 0

    assert TaskRun.objects.get(pk=task_id).state == "queued"
    assert queues.length(redis_client, "default") == 1


@pytest.mark.django_db
def test_a_ledger_that_cannot_write_stops_neither_publishing_nor_the_transaction_around_it(redis_client):
    before = create_tenant(slug="acme")
    with bound_contextvars(tenant_id=str(before.pk), request_id="x\0y"):  # a text that Postgres refuses
        tasks.succeed.delay()

    assert queues.length(redis_client, "default") == 1
    assert TaskRun.objects.count() == 0
    before.refresh_from_db()


@pytest.mark.django_db
def test_sending_a_queued_task_again_keeps_one_row(redis_client):
    row = publish()
    first = row.created_at

    tasks.succeed.apply_async(task_id=str(row.pk))

    row.refresh_from_db()
    assert (row.state, row.created_at, TaskRun.objects.count()) == ("queued", first, 1)


@pytest.mark.django_db
def test_publishing_costs_one_statement(redis_client, django_assert_num_queries):
    with django_assert_num_queries(3) as captured:  # inside the test's transaction: savepoint, prepared insert, release
        tasks.succeed.delay()

    assert [query["sql"].split()[0] for query in captured.captured_queries] == ["SAVEPOINT", "EXECUTE", "RELEASE"]


@pytest.mark.slow
def test_a_task_that_succeeds_is_done(prefork):
    row = row_in_state(tasks.succeed.delay().id, "done")

    assert row.attempts == 1
    assert row.worker.startswith("test-")
    assert row.created_at < row.started_at < row.finished_at
    assert row.error == ""


@pytest.mark.slow
def test_a_task_that_raises_is_failed_with_its_reason(prefork):
    row = row_in_state(tasks.fail.delay().id, "failed")

    assert row.error == "ValueError: this is the reason"


@pytest.mark.slow
def test_a_task_is_running_while_it_runs(prefork):
    row = row_in_state(tasks.wait.delay().id, "running")

    assert row.finished_at is None
    assert row.worker_boot is not None


@pytest.mark.slow
def test_a_retried_task_keeps_its_row_and_counts_its_attempts(prefork):
    row = row_in_state(tasks.retry_once.delay().id, "done")

    assert (row.attempts, row.retries) == (2, 1)


@pytest.mark.slow
def test_a_task_whose_process_dies_is_failed(prefork):
    assert "WorkerLostError" in row_in_state(tasks.lose_process.delay().id, "failed").error


@pytest.mark.slow
def test_a_task_over_its_hard_time_limit_is_failed(prefork):
    assert "TimeLimitExceeded" in row_in_state(tasks.overrun.delay().id, "failed").error


@pytest.mark.slow
def test_a_delivery_that_finds_its_row_taken_does_not_end_the_task(prefork):
    row = TaskRun.objects.get(pk=tasks.find_row_taken.delay().id)

    done = row_in_state(tasks.succeed.delay().id, "done")

    row.refresh_from_db()
    assert done.state == "done"
    assert row.state in {"queued", "running"}
    TaskRun.objects.filter(pk=row.pk).update(state="done")


@pytest.mark.slow
def test_a_task_revoked_while_queued_never_runs(prefork):
    client().set("test:ran", 0)
    task_id = str(uuid.uuid4())
    TaskRun.objects.create(pk=task_id, name="tests.succeed", queue="default")
    TaskRun.objects.request_revoke(uuid.UUID(task_id))

    tasks.succeed.apply_async(task_id=task_id)
    row_in_state(tasks.succeed.delay().id, "done")
    row_in_state(tasks.succeed.delay().id, "done")  # both processes have been busy since

    assert client().get("test:ran") == "2"
    assert TaskRun.objects.get(pk=task_id).state == "revoked"


@pytest.mark.slow
def test_revoking_a_running_task_of_a_prefork_worker_ends_it(prefork):
    task_id = tasks.wait.delay().id
    row_in_state(task_id, "running")

    TaskRun.objects.request_revoke(uuid.UUID(task_id))
    current_app.control.revoke(task_id, terminate=True)

    assert row_in_state(task_id, "revoked").finished_at is not None


@pytest.mark.slow
def test_a_task_logs_and_publishes_under_the_request_that_started_it(prefork):
    tenant = create_tenant(slug="acme")
    with bound_contextvars(tenant_id=str(tenant.pk), request_id="request-12345"):
        parent = tasks.start_another.delay().id

    row_in_state(parent, "done")
    child = row_in_state(str(TaskRun.objects.get(name="tests.succeed").pk), "done")

    assert (child.request_id, child.tenant) == ("request-12345", tenant)
    context = client().get("test:context")
    assert "request-12345" in context
    assert str(child.pk) in context


@pytest.mark.django_db
def test_a_signal_receiver_that_fails_only_logs(monkeypatch, redis_client):
    monkeypatch.setattr(ledger, "_execute", lambda *_: 1 / 0)

    tasks.succeed.delay()

    assert queues.length(redis_client, "default") == 1
    assert TaskRun.objects.count() == 0
