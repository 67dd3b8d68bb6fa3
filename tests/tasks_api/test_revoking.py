"""Revoking over HTTP, with the pool that each kind of task really runs on."""

import uuid

import pytest
from django.test import Client
from django.utils import timezone

from chat import services as chat
from chat.models import Message
from core.redis import client
from crawl import services as crawl
from crawl.models import CrawlRun
from knowledge import services as knowledge
from tasks_api import heartbeats
from tasks_api.models import TaskRun
from tenants.services import create_api_key, create_tenant
from tests.chat.model_server import running_model_server
from tests.tasks_api import tasks
from tests.tasks_api.rows import row_in_state
from tests.workers import running_worker, wait_until


@pytest.fixture
def tenant(clean):
    return create_tenant(slug="acme")


@pytest.fixture
def api(tenant):
    return Client(headers={"X-API-Key": create_api_key(tenant=tenant, name="server")[1]})


def revoke(api, task_id):
    return api.post(f"/api/v1/tasks/revoke/{task_id}")


@pytest.mark.slow
def test_a_running_task_of_a_prefork_worker_is_ended(prefork, api, tenant):
    task_id = tasks.wait.apply_async(headers={"tenant_id": str(tenant.pk)}).id
    row_in_state(task_id, "running")

    response = revoke(api, task_id)

    assert response.status_code == 202
    row_in_state(task_id, "revoked")
    assert row_in_state(tasks.succeed.delay().id, "done")  # the worker goes on


@pytest.mark.slow
def test_a_waiting_task_is_never_run(prefork, api, tenant):
    client().set("test:ran", 0)
    busy = [tasks.wait.delay().id for _ in range(2)]
    for task_id in busy:
        row_in_state(task_id, "running")
    waiting = tasks.succeed.apply_async(headers={"tenant_id": str(tenant.pk)}).id

    assert revoke(api, waiting).json()["state"] == "revoked"
    client().set("test:release", 1)
    row_in_state(tasks.succeed.delay().id, "done")
    for task_id in busy:
        row_in_state(task_id, "done")

    assert client().get("test:ran") == "1"
    assert TaskRun.objects.get(pk=waiting).state == "revoked"


@pytest.mark.slow
def test_a_running_answer_stops_and_keeps_its_text(api, tenant):
    knowledge.store_page(
        tenant=tenant, url="https://acme.example/a", title="Returns", language="en", fetched_at=timezone.now(),
        content="You can return any item within 30 days of buying it.",
    )  # fmt: skip
    with running_model_server() as model, running_worker(env={"LLM_BASE_URL": model.url, "LLM_MODEL": "waits"}):
        message = chat.ask(tenant=tenant, question="Within how many days can I return an item?", user_id="u1")
        wait_until(lambda: model.calls == 1)
        row_in_state(str(message.task_id), "running")

        response = revoke(api, message.task_id)

        assert response.status_code == 202
        row_in_state(str(message.task_id), "revoked")
    message.refresh_from_db()
    assert (message.state, message.finish_reason) == ("done", Message.FinishReason.STOPPED)


def test_a_waiting_answer_is_stopped_for_good(api, tenant):
    message = chat.ask(tenant=tenant, question="hello?", user_id="u1")

    response = revoke(api, message.task_id)

    assert response.json()["state"] == "revoked"
    message.refresh_from_db()
    assert message.finish_reason == Message.FinishReason.STOPPED


def test_revoking_a_crawls_task_cancels_the_crawl(api, tenant):
    website = crawl.add_website(tenant=tenant, url="https://acme.example/")
    run = crawl.start_crawl(website=website)
    task = TaskRun.objects.get(name="crawl.crawl_website_task", tenant=tenant)

    assert revoke(api, task.pk).json()["state"] == "revoked"

    run.refresh_from_db()
    assert run.is_cancelled
    assert not CrawlRun.objects.filter(state__in=("queued", "running")).exists()


@pytest.mark.slow
def test_a_worker_reports_its_pool_queues_and_counts(prefork):
    row_in_state(tasks.succeed.delay().id, "done")

    def mine():
        name = TaskRun.objects.get(name="tests.succeed").worker
        return next((worker for worker in heartbeats.workers() if worker.name == name), None)

    wait_until(lambda: mine() and mine().processed > 0)
    worker = mine()
    assert (worker.pool, worker.queues, worker.concurrency) == ("prefork", ["default"], 2)
    assert worker.is_alive
    assert uuid.UUID(worker.boot) == TaskRun.objects.get(name="tests.succeed").worker_boot
