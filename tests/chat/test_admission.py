"""How many questions may wait; a worker that begins makes room."""

import time
import uuid

import pytest
from redis import ConnectionError as RedisConnectionError

from chat import admission, services, stream, tasks
from chat.api.views import QueryView
from chat.errors import ConversationNotFoundError, TooBusyError
from chat.models import Message
from core import brownout
from core.redis import client
from tenants import services as tenants
from tests.sessions import at_once

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def room_for_five(settings):
    """Five may wait, three of one tenant."""
    settings.CHAT_WAITING_MAX = 5
    settings.CHAT_WAITING_MAX_PER_TENANT = 3
    client().delete(*client().keys("chat:*"), stream.WAITING)
    admission._breaker.close()
    yield
    client().delete(*client().keys("chat:*"), stream.WAITING, brownout.REFUSED_KEY)
    admission._breaker.close()


@pytest.fixture
def other_tenant(db):
    return tenants.create_tenant(slug="other")


def ask(tenant, number=0):
    return services.ask(tenant=tenant, question=f"Within how many days can I return item {number}?", user_id="u")


def test_a_tenant_is_refused_at_its_share_and_stores_nothing(tenant, other_tenant, rung):
    for number in range(3):
        ask(tenant, number)

    with pytest.raises(TooBusyError) as refused:
        ask(tenant)

    assert refused.value.headers == {"Retry-After": "2"}
    assert Message.objects.count() == 3
    ask(other_tenant)


def test_a_tenants_first_questions_stand_before_the_further_ones_of_all(tenant, other_tenant, settings, monkeypatch):
    settings.CHAT_WAITING_MAX = settings.CHAT_WAITING_MAX_PER_TENANT = 20
    levels = []
    monkeypatch.setattr(tasks, "ring", lambda *_ids, level: levels.append(level) or True)
    for asker in [tenant] * 8 + [other_tenant]:
        ask(asker)

    assert levels == [0, 0, 3, 3, 3, 3, 6, 6, 0]


def test_all_tenants_together_are_refused_when_the_room_is_full(tenant, other_tenant, rung):
    for asker in (tenant, tenant, tenant, other_tenant, other_tenant):
        ask(asker)

    with pytest.raises(TooBusyError):
        ask(other_tenant)


def waiting_since(seconds, count, tenant):
    """So many questions of the tenant wait that came evenly over the last seconds."""
    now = time.time()
    for number in range(count):
        client().hset(stream.WAITING, f"{tenant.pk}{number}", f"{now - seconds * number / count} {tenant.pk}")


@pytest.fixture
def long_line(settings):
    settings.CHAT_WAITING_MAX = settings.CHAT_WAITING_MAX_PER_TENANT = 100
    settings.CHAT_WAITING_TARGET_MS = 1000


def test_however_many_wait_shortly_the_next_is_taken(tenant, rung, long_line):
    waiting_since(0.7, 80, tenant)

    ask(tenant)


def test_where_they_wait_too_long_the_tenant_who_has_many_is_refused_and_not_the_other(
    tenant, other_tenant, rung, long_line
):
    waiting_since(3, 20, tenant)

    with pytest.raises(TooBusyError):
        ask(tenant)
    ask(other_tenant)


@pytest.fixture
def rush(tenant, rung, long_line):
    """The tenant was refused a moment ago; its line is gone, and the machines can begin two questions a second."""
    waiting_since(3, 20, tenant)
    with pytest.raises(TooBusyError):
        ask(tenant)
    client().delete(stream.WAITING)
    client().hset(admission._PACE, "capacity", 2)


def test_a_rush_gets_a_part_of_what_can_be_begun_while_another_asks(tenant, other_tenant, rush):
    ask(other_tenant)

    ask(tenant)
    with pytest.raises(TooBusyError) as refused:
        ask(tenant)
    assert 0 < refused.value.room_in_seconds <= 1 / (2 * admission.RUSH_SHARE)
    ask(other_tenant)


def test_a_rush_that_asks_alone_is_taken_as_fast_as_it_can_be_answered(tenant, rush):
    for number in range(30):
        ask(tenant, number)


def test_a_rush_is_over_when_it_was_not_refused_for_some_seconds(tenant, other_tenant, rush):
    ask(other_tenant)
    [rush_key] = client().keys("chat:rush:*")
    assert 0 < client().ttl(rush_key) <= admission.RUSH_SECONDS
    client().delete(rush_key)  # as Redis does then

    for number in range(30):
        ask(tenant, number)


def test_what_can_be_begun_is_counted_while_a_line_stands(tenant, rung, long_line, settings, monkeypatch):
    settings.CHAT_WAITING_TARGET_MS = 10_000
    now = time.time()
    monkeypatch.setattr(admission.time, "time", lambda: now)
    waiting_since(0.1, 20, tenant)
    ask(tenant)
    now += 1.0
    for number in range(6):  # six of the 21 were begun
        client().hdel(stream.WAITING, f"{tenant.pk}{number}")
    ask(tenant)

    assert float(client().hget(admission._PACE, "capacity")) == pytest.approx(6)


def test_a_refusal_slows_background_work(tenant, rung, long_line):
    ask(tenant)
    assert not client().exists(brownout.REFUSED_KEY)

    waiting_since(3, 20, tenant)
    with pytest.raises(TooBusyError):
        ask(tenant)
    assert client().exists(brownout.REFUSED_KEY)


def test_a_few_whose_worker_died_keep_nobody_out(tenant, rung, long_line):
    waiting_since(0.1, 12, tenant)
    for number in range(8):
        client().hset(stream.WAITING, f"dead{number}", f"{time.time() - 20} {tenant.pk}")

    ask(tenant)


def test_a_worker_that_begins_makes_room(tenant, site, rung):
    for number in range(3):
        ask(tenant, number)

    tasks.answer_message_task(message_id=rung[0])

    ask(tenant)
    with pytest.raises(TooBusyError):
        ask(tenant)


def test_a_question_that_could_not_be_stored_leaves_its_place(tenant, rung):
    for _ in range(5):
        with pytest.raises(ConversationNotFoundError):
            services.ask(tenant=tenant, question="Why?", user_id="u", conversation_id=uuid.uuid4())

    assert client().hlen(stream.WAITING) == 0


def test_one_stopped_before_a_worker_came_leaves_its_place(tenant, rung):
    services.request_stop(message=ask(tenant))

    assert client().hlen(stream.WAITING) == 0


def test_a_place_whose_worker_never_came_is_forgotten(tenant, rung, monkeypatch):
    for number in range(3):
        ask(tenant, number)

    monkeypatch.setattr(admission, "FORGOTTEN_AFTER_SECONDS", -1.0)

    ask(tenant)


def test_of_twenty_that_ask_at_once_exactly_as_many_pass_as_may(tenant, rung):
    def asked(number):
        try:
            ask(tenant, number)
        except TooBusyError:
            return False
        return True

    assert sum(at_once(20, asked)) == 3


def test_without_redis_every_question_is_taken(tenant, rung, monkeypatch):
    def away():
        raise RedisConnectionError

    monkeypatch.setattr(admission, "_script", away)
    for number in range(9):
        ask(tenant, number)

    assert Message.objects.count() == 9


def test_zero_lets_everybody_wait(tenant, rung, settings):
    settings.CHAT_WAITING_MAX = 0
    for number in range(9):
        ask(tenant, number)


def test_who_was_told_when_there_is_room_is_looked_at_then(monkeypatch):
    now = 100.0
    monkeypatch.setattr(admission.time, "monotonic", lambda: now)
    refusals = admission.Refusals()
    refusals.note("key", 0.05)

    with pytest.raises(TooBusyError):
        refusals.check("key")
    now += 0.051
    refusals.check("key")


def test_after_a_refusal_one_at_a_time_looks_until_one_is_taken(monkeypatch):
    now = 100.0
    monkeypatch.setattr(admission.time, "monotonic", lambda: now)
    refusals = admission.Refusals()
    refusals.note("key")
    now += admission.REMEMBERED_SECONDS

    refusals.check("key")  # goes to look
    with pytest.raises(TooBusyError):
        refusals.check("key")
    refusals.forget("key")
    refusals.check("key")
    refusals.check("key")


@pytest.fixture
def post(async_client, api_key):
    QueryView.refusals = admission.Refusals()

    async def send(key=api_key):
        headers = {"X-API-Key": key, "Prefer": "respond-async"}
        body = {"question": "Why?", "user_id": "u"}
        return await async_client.post("/api/v1/query/", body, content_type="application/json", headers=headers)

    return send


async def test_the_api_says_when_to_come_back(post, tenant, rung):
    assert [(await post()).status_code for _ in range(3)] == [202] * 3

    for _ in range(2):  # looked up, then remembered
        refused = await post()
        assert (refused.status_code, refused["Retry-After"]) == (429, "2")
        assert refused["Content-Type"] == "application/problem+json"
        assert refused["Cache-Control"] == "no-store"
        assert refused.json()["code"] == "too_busy"


async def test_a_refusal_is_remembered_for_a_moment_and_for_this_key_alone(post, tenant, rung, settings, monkeypatch):
    for _ in range(4):
        await post()
    settings.CHAT_WAITING_MAX = 0

    assert (await post()).status_code == 429
    assert (await post("pk_0000000000000000.unknown")).status_code == 401
    monkeypatch.setattr(admission.time, "monotonic", lambda: float("inf"))
    assert (await post()).status_code == 202
