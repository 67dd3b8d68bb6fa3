"""When background work slows down for the chat, and when it speeds up again."""

import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
import structlog

from core import brownout, queues, waits
from core.brownout import CALM_SECONDS, LEVEL_MAX, SAMPLES_MIN, STEP_SECONDS, Brownout, decide
from core.embedded import ports
from core.redis import client

TARGET_MS = 200.0


def wait(p95, count=SAMPLES_MIN, second=None):
    return waits.Spread(count, p95, p95, p95, p95 if second is None else second)


NOBODY_ASKS = waits.Spread(0, None, None, None, None)


def after(seconds_and_waits, begin=Brownout()):  # noqa: B008 -- frozen
    """Return the state after the sweeper saw each of these waits at its second."""
    state = begin
    for second, seen in seconds_and_waits:
        state = decide(state, seen, target_ms=TARGET_MS, now=1000.0 + second)
    return state


def test_a_wait_beyond_the_target_slows_background_work_at_once():
    assert after([(0, wait(TARGET_MS + 1))]).level == 1


def test_a_wait_at_the_target_changes_nothing():
    assert after([(second, wait(TARGET_MS)) for second in range(100)]).level == 0


def test_a_few_chats_that_waited_are_no_reason():
    assert after([(0, wait(TARGET_MS * 10, SAMPLES_MIN - 1))]).level == 0


def test_one_chat_that_waited_is_no_reason_however_long():
    seen = wait(TARGET_MS * 100, 19, second=TARGET_MS)

    assert after([(second, seen) for second in range(100)]).level == 0


def test_two_chats_that_waited_are_a_reason():
    assert after([(0, wait(TARGET_MS * 100, SAMPLES_MIN, second=TARGET_MS + 1))]).level == 1


def test_one_late_chat_does_not_keep_it_slow():
    slowed = Brownout(level=1, changed_at=1000.0)
    seen = wait(TARGET_MS * 100, 19, second=TARGET_MS / 2)

    assert after([(second, seen) for second in range(int(CALM_SECONDS) + 1)], slowed).level == 0


def test_while_chats_are_refused_it_slows_as_far_as_it_can_at_once_and_recovers_as_ever():
    refusing = decide(Brownout(), wait(1.0), target_ms=TARGET_MS, now=1000.0, is_refusing=True)
    assert refusing.level == LEVEL_MAX

    calm = [(second, wait(1.0)) for second in range(int(CALM_SECONDS) + 2)]
    assert after(calm[: int(CALM_SECONDS)], refusing).level == LEVEL_MAX
    assert after(calm, refusing).level == LEVEL_MAX - 1


def test_the_sweeper_hears_of_refused_chats(redis_client):
    assert brownout.sweep() == 0

    brownout.note_refusal()

    assert brownout.sweep() == 1
    assert brownout.read().level == LEVEL_MAX
    assert 0 < client().ttl(brownout.REFUSED_KEY) <= brownout.REFUSED_SECONDS


def test_each_further_step_waits_to_see_what_the_last_one_did():
    slow = wait(TARGET_MS * 2)

    assert after([(second, slow) for second in range(int(STEP_SECONDS))]).level == 1
    assert after([(second, slow) for second in range(int(STEP_SECONDS) + 1)]).level == 2


def test_it_never_slows_beyond_the_last_level():
    assert after([(second, wait(TARGET_MS * 9)) for second in range(300)]).level == LEVEL_MAX


def test_it_recovers_one_level_after_each_time_of_calm():
    slowed = Brownout(level=2, changed_at=1000.0)
    calm = [(second, wait(TARGET_MS / 2)) for second in range(int(2 * CALM_SECONDS) + 1)]

    assert after(calm[: int(CALM_SECONDS)], slowed).level == 2
    assert after(calm[: int(CALM_SECONDS) + 1], slowed).level == 1
    assert after(calm, slowed).level == 0


def test_it_recovers_when_nobody_asks_any_more():
    assert after([(0, NOBODY_ASKS), (CALM_SECONDS, NOBODY_ASKS)], Brownout(level=1, changed_at=900.0)).level == 0


def test_between_calm_and_too_long_it_stays_as_it_is_so_that_it_does_not_flap():
    slowed = Brownout(level=1, changed_at=1000.0)
    nearly = [(second, wait(TARGET_MS * 0.9)) for second in range(600)]
    broken_calm = [(0, wait(1.0)), (CALM_SECONDS - 1, wait(TARGET_MS * 0.9)), (CALM_SECONDS, wait(1.0))]

    assert after(nearly, slowed).level == 1
    assert after(broken_calm, slowed).level == 1


@pytest.fixture
def fresh(redis_client, monkeypatch):
    """Every read goes to Redis."""
    monkeypatch.setattr(brownout, "READ_EVERY_SECONDS", -1.0)
    yield
    brownout.level()


def slow_chats(count=SAMPLES_MIN):
    recorder = waits.Recorder()
    for _ in range(count):
        recorder.count(queues.HIGH_PRIORITY, "wait", 5.0)
    recorder.write()


def test_the_sweep_slows_what_workers_do_and_logs_it(fresh):
    slow_chats()

    with structlog.testing.capture_logs() as lines:
        assert brownout.sweep() == 1
        assert brownout.sweep() == 0

    assert [(line["event"], line["level"]) for line in lines] == [("background work slows down", 1)]
    assert brownout.level() == 1
    assert [brownout.window(full) for full in (40, 4, 1, 0)] == [20, 2, 1, 0]
    assert brownout.pause_seconds() > 0
    assert brownout.rest_seconds(0.5) == 0.5
    assert brownout.rest_seconds(60.0) == brownout.REST_MAX_SECONDS


def test_at_full_speed_nothing_rests(fresh):
    assert (brownout.level(), brownout.window(4), brownout.pause_seconds(), brownout.rest_seconds(9.0)) == (0, 4, 0, 0)


def test_without_a_sweeper_the_level_expires(fresh):
    slow_chats()
    brownout.sweep()

    assert 0 < client().ttl(brownout.KEY) <= brownout.EXPIRES_SECONDS


def test_without_redis_background_work_goes_at_full_speed(fresh, settings, monkeypatch):
    slow_chats()
    brownout.sweep()
    settings.REDIS_URL = f"redis://127.0.0.1:{ports.find_free()}/0"
    client.cache_clear()
    try:
        assert brownout.level() == 0
        assert brownout.sweep() == 0
    finally:
        client.cache_clear()


def test_a_level_that_cannot_be_read_counts_as_none(fresh):
    client().set(brownout.KEY, '{"lewel": 3}')

    assert brownout.level() == 0


def test_the_level_is_read_once_a_second_at_most(redis_client, monkeypatch):
    reads = []
    monkeypatch.setattr(brownout, "read", lambda: reads.append(1) or replace(Brownout(), level=2))
    monkeypatch.setattr(brownout._Known, "read_at", time.monotonic() - 2 * brownout.READ_EVERY_SECONDS)

    assert [brownout.level() for _ in range(100)] == [2] * 100
    assert len(reads) == 1
    monkeypatch.setattr(brownout._Known, "level", 0)


@pytest.mark.parametrize(
    ("queue", "level", "rests"),
    [(queues.LOW_PRIORITY, 2, True), (queues.LOW_PRIORITY, 0, False), (queues.DEFAULT, 2, False),
     (queues.HIGH_PRIORITY, 2, False)],
)  # fmt: skip
def test_a_slot_rests_after_background_work_only_and_only_while_chats_wait(monkeypatch, queue, level, rests):
    slept = []
    monkeypatch.setattr(brownout, "level", lambda: level)
    monkeypatch.setattr(brownout.time, "sleep", slept.append)
    request = SimpleNamespace(is_eager=False, delivery_info={"routing_key": queue}, began_at=time.time() - 0.5)

    brownout.rest(SimpleNamespace(request=request))

    assert bool(slept) == rests
    assert all(seconds >= brownout.REST_SHARES[level] * 0.5 for seconds in slept)
