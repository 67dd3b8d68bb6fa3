"""Conversations over HTTP, to be read."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from chat import services
from chat.api import conversations
from chat.models import Conversation, Message
from tenants.services import create_api_key, create_tenant
from tests.api_client import ApiClient, ids, pointers

pytestmark = pytest.mark.django_db


@pytest.fixture
def caller(api_key):
    return ApiClient(api_key)


@pytest.fixture
def asked(tenant, rung):
    """A conversation of three questions by one user."""
    first = services.ask(tenant=tenant, question="Question 0?", user_id="کاربر")
    for number in (1, 2):
        services.ask(
            tenant=tenant, question=f"Question {number}?", user_id="کاربر", conversation_id=first.conversation_id
        )
    moment = timezone.now()
    for number, message in enumerate(Message.objects.order_by("question")):
        Message.objects.filter(pk=message.pk).update(created_at=moment + timedelta(seconds=number))
    return first.conversation


def questions(body):
    return [message["question"] for message in body["messages"]]


def test_a_conversation_is_shown_with_its_messages_the_oldest_first(caller, asked):
    body = caller.get(f"conversations/{asked.pk}").json()

    assert (body["user_id"], body["title"], body["message_count"]) == ("کاربر", "Question 0?", 3)
    assert questions(body) == ["Question 0?", "Question 1?", "Question 2?"]
    assert body["messages"][0]["state"] == "queued"
    assert body["messages"][0] == caller.get(f"messages/{body['messages'][0]['message_id']}").json()


def test_of_a_long_conversation_the_last_messages_are_shown_and_all_exported(caller, asked, monkeypatch):
    monkeypatch.setattr(conversations, "SHOWN_MESSAGES", 2)

    shown = caller.get(f"conversations/{asked.pk}").json()
    file = caller.get(f"conversations/{asked.pk}/export")

    assert (questions(shown), shown["message_count"]) == (["Question 1?", "Question 2?"], 3)
    assert questions(file.json()) == ["Question 0?", "Question 1?", "Question 2?"]
    assert file.json()["exported_at"]
    assert file.headers["Content-Disposition"] == f'attachment; filename="conversation-{asked.pk}.json"'
    assert file.headers["Content-Type"] == "application/json"


def test_conversations_are_listed_for_a_user(caller, tenant, asked, rung):
    other = services.ask(tenant=tenant, question="Hello?", user_id="2").conversation
    members = Conversation.objects.create(tenant=tenant, member=User.objects.create_user("staff"), title="Mine")
    stranger = create_tenant(slug="stranger")
    services.ask(tenant=stranger, question="Hello?", user_id="2")

    assert ids(caller.get("conversations")) == [str(row.pk) for row in (members, other, asked)]
    assert ids(caller.get("conversations", user_id="2")) == [str(other.pk)]
    assert ids(caller.get("conversations", user_id="3")) == []
    assert caller.get(f"conversations/{members.pk}").json()["user_id"] is None
    assert pointers(caller.get("conversations", user_id="")) == ["/user_id"]


def test_archived_conversations_are_listed_by_themselves_and_stay_exportable(caller, tenant, asked, rung):
    kept = services.ask(tenant=tenant, question="Hello?", user_id="2").conversation
    Conversation.objects.filter(pk=asked.pk).update(archived_at=timezone.now())

    assert ids(caller.get("conversations")) == [str(kept.pk)]
    assert ids(caller.get("conversations", archived="true")) == [str(asked.pk)]
    assert ids(caller.get("conversations", archived="true", user_id="2")) == []
    assert pointers(caller.get("conversations", archived="perhaps")) == ["/archived"]
    assert caller.get(f"conversations/{asked.pk}").json()["archived_at"]
    assert len(questions(caller.get(f"conversations/{asked.pk}/export").json())) == 3


def test_the_list_takes_two_queries_and_one_conversation_three(caller, asked, tenant, rung, django_assert_num_queries):
    for number in range(5):
        services.ask(tenant=tenant, question="Hello?", user_id=str(number))

    with django_assert_num_queries(2):  # the key with its tenant; the conversations with user and count
        caller.get("conversations")
    for path in (f"conversations/{asked.pk}", f"conversations/{asked.pk}/export"):
        with django_assert_num_queries(3):  # the key with its tenant; the conversation; its messages
            caller.get(path)


def test_a_key_that_may_only_manage_sources_reads_no_conversation(tenant, asked):
    narrow = ApiClient(create_api_key(tenant=tenant, name="crawler", scopes=["sources"])[1])

    for path in ("conversations", f"conversations/{asked.pk}", f"conversations/{asked.pk}/export"):
        assert narrow.get(path).status_code == 403
