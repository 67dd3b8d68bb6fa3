import time
import uuid
from functools import partial

import pytest

from chat import services, tasks
from chat.errors import (
    AskerMissingError,
    ConversationNotFoundError,
    MessageNotFoundError,
    QuestionEmptyError,
    QuestionInvalidError,
    QuestionTooLongError,
)
from chat.models import Conversation, Message
from core.states import State

pytestmark = pytest.mark.django_db


def test_ask_sends_the_message_after_the_commit_and_only_its_id(tenant, rung, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        message = services.ask(tenant=tenant, question=" How? ", user_id="u")
        assert rung == []  # nothing leaves before the commit

    assert rung == [str(message.pk)]
    assert (message.state, message.question) == (State.QUEUED, "How?")


@pytest.mark.parametrize(
    ("question", "error"),
    [
        ("", QuestionEmptyError),
        (" \n\t\u200c\u200f ", QuestionEmptyError),
        ("x" * 2001, QuestionTooLongError),
        ("a\x00b", QuestionInvalidError),
        ("a\ud800b", QuestionInvalidError),
    ],
)
def test_a_question_that_cannot_be_asked_is_refused_by_name(tenant, rung, question, error):
    with pytest.raises(error):
        services.ask(tenant=tenant, question=question, user_id="u")

    assert not Conversation.objects.exists()


def test_somebody_must_ask_and_only_one(tenant, django_user_model):
    member = django_user_model.objects.create(username="staff")

    for askers in ({}, {"user_id": "u", "member": member}):
        with pytest.raises(AskerMissingError):
            services.ask(tenant=tenant, question="How?", **askers)


def test_a_conversation_is_only_its_askers(tenant, rung, django_user_model):
    from tenants import services as tenants

    member = django_user_model.objects.create(username="staff")
    first = services.ask(tenant=tenant, question="How?", user_id="u")
    conversation = first.conversation_id
    stranger = tenants.create_tenant(slug="stranger")

    for asker in ({"user_id": "v"}, {"member": member}):
        with pytest.raises(ConversationNotFoundError):
            services.ask(tenant=tenant, question="And?", conversation_id=conversation, **asker)
    with pytest.raises(ConversationNotFoundError):
        services.ask(tenant=stranger, question="And?", user_id="u", conversation_id=conversation)
    again = services.ask(tenant=tenant, question="And?", user_id="u", conversation_id=str(conversation))
    assert again.conversation_id == conversation


def test_a_message_is_only_its_tenants(tenant, rung):
    from tenants import services as tenants

    message = services.ask(tenant=tenant, question="How?", user_id="u")

    assert services.get_message(tenant=tenant, message_id=message.pk) == message
    for who, which in ((tenants.create_tenant(slug="stranger"), message.pk), (tenant, uuid.uuid4())):
        with pytest.raises(MessageNotFoundError):
            services.get_message(tenant=who, message_id=which)


def test_without_a_broker_asking_succeeds_quickly_and_is_left_to_the_sweeper(
    tenant, monkeypatch, django_capture_on_commit_callbacks
):
    from core.celery import app

    nowhere = app.connection_for_write("redis://127.0.0.1:9/0")
    send = partial(tasks.answer_message_task.apply_async, connection=nowhere)
    monkeypatch.setattr(tasks.answer_message_task, "apply_async", send)
    began = time.monotonic()

    with django_capture_on_commit_callbacks(execute=True):
        message = services.ask(tenant=tenant, question="How?", user_id="u")

    assert time.monotonic() - began < 3  # 0.02 s; kombu's own way to wait would take 6
    message.refresh_from_db()
    assert (message.state, message.sent_at) == (State.QUEUED, None)
    assert list(Message.objects.unheard()) == [message]


def test_a_queued_message_stops_at_once_and_is_never_answered(tenant, rung):
    message = services.ask(tenant=tenant, question="How?", user_id="u")

    stopped = services.request_stop(message=message)

    assert (stopped.state, stopped.finish_reason) == (State.DONE, "stopped")
    tasks.answer_message_task(message_id=str(message.pk))
    message.refresh_from_db()
    assert (message.attempt, message.answer) == (0, "")


def test_a_running_message_is_asked_to_stop_and_one_that_is_over_stays(tenant, rung):
    message = services.ask(tenant=tenant, question="How?", user_id="u")
    Message.objects.claim(message.pk)

    first = services.request_stop(message=message)
    again = services.request_stop(message=message)
    assert first.state == again.state == State.RUNNING
    assert first.stop_requested_at == again.stop_requested_at is not None

    Message.objects.update(state=State.DONE, finish_reason="answered", stop_requested_at=None)
    assert services.request_stop(message=message).stop_requested_at is None
