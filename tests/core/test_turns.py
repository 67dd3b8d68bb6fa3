import uuid

import pytest
from celery import current_app

from core import queues, turns
from core.redis import client

TENANT, OTHER = uuid.uuid4(), uuid.uuid4()


@pytest.fixture
def redis(redis_client):
    forget()
    yield client()
    forget()


def forget():
    keys = [key for name in turns.QUEUES for key in queues.lists_of(name)]
    client().delete(*keys, *client().keys("turns:*"))
    turns._Known.read_at = -turns.READ_EVERY_SECONDS


def has_had(seconds, tenant=TENANT):
    turns.record(tenant, seconds)
    turns._Known.read_at = -turns.READ_EVERY_SECONDS


def later(turn, monkeypatch, seconds):
    monkeypatch.setattr(turn, "started", turn.started - seconds)


@pytest.mark.parametrize("queue", [queues.DEFAULT, queues.LOW_PRIORITY])
def test_others_wait_while_a_message_is_in_a_queue_of_background_work(redis, queue):
    assert not turns.others_wait()
    redis.lpush(queue, "message")
    assert turns.others_wait()


def test_who_is_less_urgent_keeps_nobody_waiting(redis):
    redis.lpush(queues.list_of(queues.LOW_PRIORITY, 6), "message")

    assert not turns.others_wait(3)
    assert turns.others_wait(6)
    assert not turns.others_wait(-1)


def test_the_lists_of_a_queue_are_those_that_the_broker_makes(redis):
    for level in queues.LEVELS:
        current_app.send_task("nothing", queue=queues.LOW_PRIORITY, priority=level)

    assert [redis.llen(name) for name in queues.lists_of(queues.LOW_PRIORITY)] == [1] * len(queues.LEVELS)


def test_the_list_of_a_queues_own_name_holds_first_questions_and_the_backlog():
    assert [
        queues.list_of(name, level) for name, level in [("high_priority", 0), ("default", 9), ("low_priority", 9)]
    ] == ["high_priority", "default", "low_priority"]
    for name in queues.NAMES:
        assert set(queues.lists_of(name)) == {name, *(f"{name}\x06\x16{step}" for step in (3, 6, 9))}, (
            "as Flower counts"
        )


def test_a_worker_takes_the_most_urgent_level_first(redis):
    for level in reversed(queues.LEVELS):
        current_app.send_task("nothing", queue=queues.LOW_PRIORITY, priority=level)

    with current_app.connection() as connection, connection.SimpleQueue(queues.LOW_PRIORITY) as queue:
        taken = [queue.get(timeout=5) for _ in queues.LEVELS]
        for message in taken:
            message.ack()
    assert [message.properties["priority"] for message in taken] == list(queues.LEVELS)


def test_the_more_a_tenants_work_has_had_lately_the_less_urgent_it_is(redis):
    has_had(100, OTHER)
    levels = []
    for seconds in (5, 10, 20, 20):
        has_had(seconds)
        levels.append(turns.level_of(TENANT))

    assert levels == list(queues.LEVELS)
    assert turns.level_of(uuid.uuid4()) == 0
    assert turns.levels() == {str(TENANT): 9, str(OTHER): 9}


def test_as_long_as_nobody_has_had_much_all_are_alike(redis):
    has_had(turns.LITTLE_SECONDS - 1)

    assert turns.level_of(TENANT) == turns.level_of(OTHER) == 0


def test_a_minute_later_it_is_forgotten(redis, monkeypatch):
    has_had(100)
    now = turns.time.time()
    monkeypatch.setattr(turns.time, "time", lambda: now + turns.BUCKET_SECONDS * turns.BUCKETS)
    turns._Known.read_at = -turns.READ_EVERY_SECONDS

    assert turns.level_of(TENANT) == 0


def test_without_redis_nobody_is_said_to_wait_and_all_are_alike(monkeypatch):
    def refuse():
        raise turns.RedisError

    monkeypatch.setattr(turns, "client", refuse)
    has_had(100)
    assert turns.level_of(TENANT) == 0
    assert not turns.others_wait()


def test_a_turn_is_long_while_nobody_waits_and_ends_early_once_others_do(monkeypatch):
    monkeypatch.setattr(turns, "others_wait", lambda _level: False)
    turn = turns.Turn(60)
    later(turn, monkeypatch, 2 * turns.SHARED_SECONDS)
    assert not turn.is_over()

    monkeypatch.setattr(turns, "others_wait", lambda _level: True)
    assert turn.is_over()
    assert not turns.Turn(60).is_over(), "each turn gets a moment"
    assert turns.Turn(0).is_over()


def test_a_turn_ends_at_once_for_somebody_more_urgent_and_not_for_somebody_less_urgent(redis, monkeypatch):
    has_had(30)
    heavy, light = turns.Turn(60, tenant_id=TENANT), turns.Turn(60, tenant_id=OTHER)
    for turn in (heavy, light):
        later(turn, monkeypatch, turns.BRIEF_SECONDS)

    redis.lpush(queues.list_of(queues.LOW_PRIORITY, 0), "message")
    assert (heavy.is_over(), light.is_over()) == (True, False)

    redis.delete(queues.list_of(queues.LOW_PRIORITY, 0))
    redis.lpush(queues.list_of(queues.LOW_PRIORITY, 9), "message")
    for turn in (heavy, light):
        later(turn, monkeypatch, 2 * turns.SHARED_SECONDS)
    assert (heavy.is_over(), light.is_over()) == (True, False)
