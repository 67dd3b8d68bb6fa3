"""The model path against a real model: not what it says is tested (it is tiny), but that what it says arrives."""

import re

import pytest

from chat import services, tasks
from chat.models import Message
from core.states import State
from tests.chat.real_model import NAME, running_real_model

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]


@pytest.fixture(scope="module")
def real_model():
    with running_real_model() as url:
        yield url


def test_an_answer_streams_from_a_real_model_with_checked_citations(tenant, site, rung, settings, real_model):
    from chat.stream import key_of
    from core.redis import client

    settings.LLM_BASE_URL, settings.LLM_MODEL, settings.LLM_MAX_TOKENS = real_model, NAME, 24
    settings.LLM_FIRST_TOKEN_TIMEOUT_SECONDS = settings.LLM_IDLE_TIMEOUT_SECONDS = 100
    message = services.ask(tenant=tenant, question="Within how many days can I return an item?", user_id="u")

    tasks.answer_message_task(message_id=str(message.pk))

    message = Message.objects.get()
    assert (message.state, message.error) == (State.DONE, "")
    assert message.model == NAME
    assert message.answer.strip()
    cited = {int(n) for n in re.findall(r"\[(\d+)\]", message.answer)}
    assert cited == {citation["n"] for citation in message.citations}
    names = [fields["event"] for _id, fields in client().xrange(key_of(message.pk))]
    assert names.count("delta") >= 1
    assert names[-1] == "done"
