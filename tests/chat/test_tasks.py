import pytest

from chat import services, tasks
from core.states import State

pytestmark = pytest.mark.django_db(transaction=True)


def ask(tenant, question):
    return services.ask(tenant=tenant, question=question, user_id="u1")


def test_a_question_is_answered_from_the_site_with_its_citation(tenant, site, rung, redis_client):
    message = ask(tenant, "Within how many days can I return an item?")

    tasks.answer_message_task(message_id=rung[0])

    message.refresh_from_db()
    assert message.state == State.DONE
    assert message.finish_reason == "answered"
    assert "You can return any item within 30 days of delivery. [1]" in message.answer
    assert message.citations[0]["url"] == "https://acme.example/refunds"
    assert message.citations[0]["quote"] == "You can return any item within 30 days of delivery."
