"""What a question costs, and who is told of its answer, in the very transaction of the answer."""

import json
from datetime import timedelta

import pytest
from django.utils import timezone

from chat import services, sweeping, tasks, working
from chat.models import Message
from core.jobs import CLAIMS_MAX
from core.states import State
from tenants import services as tenants
from tenants.errors import DailyLimitReachedError
from tenants.models import Tenant, UsageEntry, WebhookEvent
from tenants.services import usage

pytestmark = pytest.mark.django_db


@pytest.fixture
def listening(tenant):
    """An endpoint that wants every answer; nothing is sent to it here."""
    return tenants.create_endpoint(tenant=tenant, url="https://users.acme.example/hooks")[0]


def ask(tenant, question="Within how many days can I return an item?"):
    return services.ask(tenant=tenant, question=question, user_id="u1")


def used(tenant):
    end_user = tenants.get_end_user(tenant=tenant, external_id="u1")
    return tenants.allowance(tenant=tenant, end_user=end_user).used


def test_the_answer_its_accounts_and_its_event_are_written_together(  # noqa: PLR0917 -- fixtures
    tenant, site, rung, listening, monkeypatch, django_capture_on_commit_callbacks
):
    told = []
    monkeypatch.setattr(usage, "statistics_bell", usage.Bell())  # as if nobody had asked a moment ago
    monkeypatch.setattr("core.enqueue.publish", lambda task, arguments, **_: told.append((task.name, arguments)))
    message = ask(tenant)
    with django_capture_on_commit_callbacks(execute=True):
        tasks.answer_message_task(message_id=str(message.pk))
        assert told == []

    message.refresh_from_db()
    entry = UsageEntry.objects.get(pk=message.pk)
    event = WebhookEvent.objects.get(type="query.answered", key=str(message.pk))
    assert (message.state, entry.outcome, entry.total_ms is not None) == (State.DONE, "answered", True)
    assert event.payload["user_id"] == "u1"
    assert event.payload["question"] == message.question
    assert event.payload["answer"] == message.answer
    assert event.payload["citations"] == message.citations
    assert event.payload["timings"]["total_ms"] == entry.total_ms
    assert event.deliveries.get().endpoint == listening
    assert told == [
        ("tenants.send_query_result_to_users", {"message_id": str(message.pk)}),
        ("tenants.update_user_statistics", {"end_user_id": str(entry.end_user_id)}),
    ]


def test_a_day_that_is_used_up_is_refused_over_http_with_what_to_do(tenant, rung, api_key, client):
    Tenant.objects.update(end_user_daily_limit=1)
    ask(tenant)

    body = json.dumps({"question": "Again?", "user_id": "u1"})
    response = client.post(
        "/api/v1/query/",
        body,
        content_type="application/json",
        headers={"X-API-Key": api_key, "Prefer": "respond-async"},
    )

    assert (response.status_code, response["Content-Type"]) == (429, "application/problem+json")
    assert response.json()["code"] == "daily_limit_reached"
    assert int(response["Retry-After"]) > 0
    assert response["RateLimit-Policy"] == '"end-user-daily";q=1;w=86400'
    assert Message.objects.count() == 1


def test_a_refused_question_leaves_no_message(tenant, rung):
    tenant.end_user_daily_limit = 0

    with pytest.raises(DailyLimitReachedError):
        ask(tenant)

    assert not Message.objects.exists()


def test_a_failed_answer_gives_its_unit_back_and_tells_nobody(tenant, rung, listening, monkeypatch):
    def broken(*args, **kwargs):
        raise RuntimeError

    monkeypatch.setattr(working.answering, "answer", broken)
    message = ask(tenant)
    assert used(tenant) == 1

    with pytest.raises(RuntimeError):
        tasks.answer_message_task(message_id=str(message.pk))

    assert used(tenant) == 0
    assert UsageEntry.objects.get().outcome == "failed"
    assert not WebhookEvent.objects.exists()


def test_a_message_that_wore_out_its_workers_gives_its_unit_back(tenant, rung, settings):
    message = ask(tenant)
    Message.objects.update(state=State.RUNNING, attempt=CLAIMS_MAX, lease_until=timezone.now() - timedelta(seconds=1))

    assert sweeping.close_worn_out(limit=10) == 1

    message.refresh_from_db()
    assert (message.state, used(tenant)) == (State.FAILED, 0)


def test_a_question_stopped_before_it_began_is_settled_once(tenant, rung, listening):
    message = ask(tenant)

    for _ in range(2):
        services.request_stop(message=message)

    assert UsageEntry.objects.get().outcome == "stopped"
    assert used(tenant) == 1
    assert not WebhookEvent.objects.exists()
