"""How long tasks wait and run, counted where they run."""

from types import SimpleNamespace

import pytest

from core import queues, waits
from core.celery import app
from core.continuing import GOES_ON
from core.redis import client
from tests.workers import running_worker, wait_until


def recorded(*seconds, queue=queues.DEFAULT, kind="wait"):
    recorder = waits.Recorder()
    for each in seconds:
        recorder.count(queue, kind, each)
    recorder.write()


def test_percentiles_are_those_counted_to_within_a_fifth(redis_client):
    recorded(*(number / 1000 for number in range(1, 1001)))
    seen = waits.read(queues.DEFAULT, seconds=60).wait_ms

    assert seen.count == 1000
    assert 500 <= seen.p50 <= 500 * 2**0.25
    assert 950 <= seen.p95 <= 950 * 2**0.25
    assert 990 <= seen.p99 <= 990 * 2**0.25


@pytest.mark.parametrize(("seconds", "second"), [((5.0,), None), ((0.001, 5.0), 1.0), ((0.001, 0.1, 5.0, 5.0), 5000)])
def test_the_longest_but_one_tells_a_single_late_one_from_two(redis_client, seconds, second):
    recorded(*seconds)
    seen = waits.read(queues.DEFAULT, seconds=60).wait_ms

    assert seen.p95 >= 5000
    assert seen.second == second or second <= seen.second <= second * 2**0.25


def test_waits_and_runs_and_queues_are_counted_apart(redis_client):
    recorded(0.001)
    recorded(8.0, kind="run")
    recorded(2.0, queue=queues.LOW_PRIORITY)
    seen = waits.read(queues.DEFAULT, seconds=60)

    assert (seen.wait_ms.count, seen.wait_ms.p99, seen.run_ms.count) == (1, 1.0, 1)
    assert seen.run_ms.p50 >= 8000
    assert waits.read(queues.HIGH_PRIORITY, seconds=60).wait_ms == waits.Spread(0, None, None, None, None)


def test_what_was_counted_is_forgotten_by_itself(redis_client):
    recorded(0.1)

    assert [0 < client().ttl(key) <= waits.KEPT_SECONDS for key in client().scan_iter("waits:*")] == [True]


def test_without_redis_counting_goes_on_and_nothing_fails(monkeypatch, redis_client):
    recorder = waits.Recorder()
    monkeypatch.setattr(waits, "client", lambda: (_ for _ in ()).throw(ConnectionError))

    recorder.count(queues.DEFAULT, "wait", 1.0)
    recorder.write()


def test_a_task_that_goes_on_is_counted_once_it_has_ended(redis_client, monkeypatch):
    monkeypatch.setattr(waits, "recorder", waits.Recorder())
    request = SimpleNamespace(is_eager=False, delivery_info={"routing_key": queues.HIGH_PRIORITY}, headers={})
    task = SimpleNamespace(request=request)

    waits.begin(task)
    waits.end(task, retval=GOES_ON)
    assert waits.read(queues.HIGH_PRIORITY, seconds=60).run_ms.count == 0
    waits.end(task, retval=True)
    assert waits.read(queues.HIGH_PRIORITY, seconds=60).run_ms.count == 1


@pytest.mark.django_db(transaction=True)
def test_a_worker_counts_what_its_tasks_waited_and_ran(redis_client):
    app.send_task("tenants.reset_all_daily_limits")  # waits for the worker to start
    with running_worker(queues=[queues.DEFAULT]):
        wait_until(lambda: waits.read(queues.DEFAULT, seconds=60).run_ms.count == 1)
        seen = waits.read(queues.DEFAULT, seconds=60)

    assert seen.wait_ms.count == 1
    assert seen.wait_ms.p50 > 500, "a worker takes longer than that to start"
