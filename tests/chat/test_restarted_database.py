"""The database is restarted at the worst moments of a question: it is stored once, and answered."""

import pytest
from django.db import connection

from chat import accounts, answering, services, sweeping, tasks
from chat.models import Conversation, Message
from core.jobs import has_forgotten

pytestmark = pytest.mark.django_db(transaction=True)


def end_own_session():
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")


@pytest.fixture
def lose_session_once(monkeypatch):
    """Return a function that makes the first call of another one lose the database session, before or after it."""

    def lose(owner, name, *, after=False):
        real, calls = getattr(owner, name), []

        def call(*args, **kwargs):
            calls.append(1)
            if after and len(calls) == 1:
                real(*args, **kwargs)
            if len(calls) == 1:
                end_own_session()
            return real(*args, **kwargs)

        monkeypatch.setattr(owner, name, call)

    return lose


@pytest.mark.parametrize("after", [False, True], ids=["before the commit", "after the commit"])
def test_a_question_is_stored_once(tenant, rung, lose_session_once, after):
    lose_session_once(*((services, "_store") if after else (accounts, "reserve")), after=after)

    message = services.ask(tenant=tenant, question="How?", user_id="u")

    assert list(Message.objects.values_list("pk", flat=True)) == [message.pk]
    assert Conversation.objects.count() == 1


def test_an_answer_that_was_being_stored_is_stored_again(tenant, site, rung, lose_session_once):
    message = services.ask(tenant=tenant, question="How do I install Acme?", user_id="u")
    lose_session_once(accounts, "settle")

    tasks.answer_message_task(message_id=str(message.pk))

    message.refresh_from_db()
    assert (message.state, message.attempt) == ("done", 1)
    assert "pip install acme" in message.answer


def test_a_search_that_was_cut_is_handed_to_another_worker_at_once(tenant, site, rung, lose_session_once):
    has_forgotten("chat")
    message = services.ask(tenant=tenant, question="How do I install Acme?", user_id="u")
    lose_session_once(answering, "answer")
    rung.clear()

    tasks.answer_message_task(message_id=str(message.pk))
    assert sweeping.sweep() == 1
    assert rung == [str(message.pk)]
    tasks.answer_message_task(message_id=str(message.pk))

    message.refresh_from_db()
    assert (message.state, message.attempt) == ("done", 2)
