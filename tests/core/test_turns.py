import pytest

from core import queues, turns
from core.redis import client


@pytest.fixture
def queue(redis_client):
    yield client()
    client().delete(queues.LOW_PRIORITY)


def test_others_wait_while_a_message_is_in_the_queue_of_background_work(queue):
    assert not turns.others_wait()
    queue.lpush(queues.LOW_PRIORITY, "message")
    assert turns.others_wait()


def test_without_redis_nobody_is_said_to_wait(monkeypatch):
    def refuse():
        raise turns.RedisError

    monkeypatch.setattr(turns, "client", refuse)
    assert not turns.others_wait()


def test_a_turn_is_long_while_nobody_waits_and_ends_early_once_others_do(monkeypatch):
    monkeypatch.setattr(turns, "others_wait", lambda: False)
    turn = turns.Turn(60)
    monkeypatch.setattr(turn, "started", turn.started - 2 * turns.SHARED_SECONDS)
    assert not turn.is_over()

    monkeypatch.setattr(turns, "others_wait", lambda: True)
    assert turn.is_over()
    assert not turns.Turn(60).is_over(), "each turn gets about a second"
    assert turns.Turn(0).is_over()
