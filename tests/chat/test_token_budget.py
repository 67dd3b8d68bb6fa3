"""A model's tokens: prompts that are bounded, days that are not overdrawn, and softer landings before none."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.utils import timezone

from chat import services, tasks, token_budget
from chat.answering import generated
from chat.models import Message
from chat.token_budget import estimated_tokens
from core.states import State
from knowledge.services import store_page
from tenants.models import TokenDay
from tenants.services import usage_by_day
from tests.chat.test_citing import passage
from tests.sessions import in_own_session

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("rung", "site")]

QUESTION = "Within how many days can I return an item?"


@pytest.fixture
def ask(tenant):
    def ask(**limits):
        for name, value in limits.items():
            setattr(tenant, name, value)
        tenant.save()
        message = services.ask(tenant=tenant, question=QUESTION, user_id="u")
        tasks.answer_message_task(message_id=str(message.pk))
        message.refresh_from_db()
        return message

    return ask


def test_a_prompt_keeps_within_its_tokens_whatever_is_found_and_was_said(settings):
    settings.LLM_PROMPT_MAX_TOKENS = 1500
    turns = [Message(question="چرا؟ " * 200, answer="زیرا " * 400) for _turn in range(3)]
    passages = [passage("یک جملهٔ نسبتاً بلند دربارهٔ چراغ. " * 20, url=f"https://a.example/{n}") for n in range(8)]

    for question in ("Q?", "پرسش " * 300):
        for is_short in (False, True):
            plan = generated.plan(question, passages, turns, is_short=is_short)
            assert plan.tokens <= 1500
            assert plan.shown
    assert len(generated.plan("Q?", passages, [], is_short=True).shown) <= generated.SHORT_PASSAGES
    huge = generated.plan("Q?", [passage("word " * 10_000)], [])
    assert 0 < len(huge.shown[0].content) < 6000


def test_what_an_answer_used_and_cost_is_written_down_once(ask, use_model, settings, tenant):
    settings.LLM_PROMPT_PRICE_PER_MILLION, settings.LLM_ANSWER_PRICE_PER_MILLION = 2.0, 8.0
    use_model("good")
    message = ask()

    assert message.prompt_tokens > 100
    assert message.answer_tokens == estimated_tokens(message.answer)
    assert message.cost_micros == 2 * message.prompt_tokens + 8 * message.answer_tokens
    day = TokenDay.objects.get()
    assert (day.held, day.prompt_tokens, day.cost_micros) == (0, message.prompt_tokens, message.cost_micros)
    usage = usage_by_day(tenant=tenant)
    assert usage.total["prompt_tokens"] == usage.days[-1]["prompt_tokens"] == message.prompt_tokens
    assert usage.total["cost"] == pytest.approx(message.cost_micros / 1e6)


def test_what_the_models_server_counts_is_what_is_settled(ask, use_model, settings):
    settings.LLM_PROMPT_PRICE_PER_MILLION, settings.LLM_ANSWER_PRICE_PER_MILLION = 2.0, 8.0
    use_model("counts")
    message = ask(daily_tokens=100_000)

    assert (message.state, message.prompt_tokens, message.answer_tokens) == (State.DONE, 321, 7)
    assert message.cost_micros == 2 * 321 + 8 * 7
    day = TokenDay.objects.get()
    assert (day.held, day.prompt_tokens, day.answer_tokens) == (0, 321, 7)


@pytest.mark.parametrize("model", ["miscounts", "babbles"])
def test_a_count_that_is_none_is_estimated(ask, use_model, model):
    use_model(model)
    message = ask()

    assert (message.state, message.answer_tokens) == (State.DONE, estimated_tokens(message.answer))


def test_first_the_context_is_cut_and_then_the_site_is_quoted(ask, use_model, settings, model_server, tenant):
    settings.QUERY_CACHE_ENABLED, settings.LLM_MAX_TOKENS = False, 100
    for number in range(4):
        text = f"An item of kind {number} that you return within some days is examined in our workshop. " * 5
        url = f"https://acme.example/{number}"
        store_page(tenant=tenant, url=url, title="", language="en", content=text, fetched_at=timezone.now())
    use_model("good")
    whole = ask()
    used = whole.prompt_tokens + whole.answer_tokens

    shorter = ask(daily_tokens=used + whole.prompt_tokens + 100 - 20)
    calls = model_server.calls
    quoted = ask(daily_tokens=used)

    assert (whole.note, whole.model, whole.is_cached) == ("", "good", False)
    assert (shorter.note, shorter.model, shorter.state) == ("shorter", "good", State.DONE)
    assert shorter.prompt_tokens < whole.prompt_tokens
    assert (quoted.note, quoted.model, quoted.state) == ("used_up", "extractive", State.DONE)
    assert "return" in quoted.answer
    assert model_server.calls == calls, "no model was asked"
    assert quoted.prompt_tokens == quoted.cost_micros == 0


def test_a_kept_answer_is_given_when_the_tokens_are_used_up(ask, use_model, monkeypatch):
    monkeypatch.setattr("chat.answering.caching.may_keep", lambda _passages: True)
    use_model("good")
    ask()
    again = ask(daily_tokens=1)

    assert (again.is_cached, again.note, again.prompt_tokens) == (True, "", 0)


def test_what_is_quoted_for_want_of_tokens_is_not_kept_as_the_models_answer(ask, use_model, monkeypatch):
    monkeypatch.setattr("chat.answering.caching.may_keep", lambda _passages: True)
    use_model("good")
    assert ask(daily_tokens=1).model == "extractive"

    again = ask(daily_tokens=None)
    assert (again.model, again.is_cached) == ("good", False)


def test_answers_at_the_same_time_never_reserve_more_than_the_day_has(tenant, settings):
    settings.LLM_MAX_TOKENS = 100
    tenant.daily_tokens = 1000
    tenant.save()
    messages = [services.ask(tenant=tenant, question=QUESTION, user_id="u") for _number in range(20)]

    @in_own_session
    def reserve(message):
        return token_budget.reserve(message, prompt_tokens=150, note="")

    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(reserve, messages))

    assert sum(taken) == 4, "1,000 holds four times 250"
    assert TokenDay.objects.get().held == 1000


def test_a_second_attempt_gives_back_what_the_first_reserved(tenant):
    tenant.daily_tokens = 100_000
    tenant.save()
    message = services.ask(tenant=tenant, question=QUESTION, user_id="u")
    for _attempt in range(3):
        assert token_budget.reserve(message, prompt_tokens=500, note="")

    assert TokenDay.objects.get().held == 500 + 800


def test_an_answer_that_failed_gives_its_tokens_back(ask, use_model):
    use_model("refused")
    message = ask(daily_tokens=100_000)

    assert (message.state, message.prompt_tokens, message.held_tokens) == (State.FAILED, 0, 0)
    assert TokenDay.objects.get().held == 0


def test_the_day_is_the_tenants_and_begins_anew(tenant, settings):
    settings.LLM_TENANT_DAILY_TOKENS = 1000
    message = services.ask(tenant=tenant, question=QUESTION, user_id="u")
    yesterday = tenant.day_of(timezone.now() - timedelta(days=1))
    TokenDay.objects.create(tenant=tenant, day=yesterday, prompt_tokens=1000)

    assert token_budget.reserve(message, prompt_tokens=100, note="")
