"""Tasks that go on as coroutines, in a real worker: for everybody else they run until those have ended."""

import signal

import pytest

from core.redis import client
from tasks_api import heartbeats
from tasks_api.models import TaskRun
from tests.tasks_api import tasks
from tests.tasks_api.conftest import SETTINGS
from tests.workers import running_worker, wait_until

ENV = SETTINGS | {"ANSWER_THREADS": "2"}
AT_ONCE = 20


@pytest.fixture
def worker(clean):
    with running_worker(queues=("default",), concurrency=AT_ONCE, env=ENV) as process:
        yield process


def states():
    return sorted(TaskRun.objects.values_list("state", flat=True))


def unacknowledged():
    return client().hlen("unacked")


def begin(count, **kwargs):
    ids = [tasks.go_on.apply_async(kwargs=kwargs).id for _ in range(count)]
    wait_until(lambda: states() == ["running"] * count, explain=states)
    return ids


def test_more_tasks_than_threads_go_on_and_a_stopping_worker_waits_for_them(worker):
    begin(AT_ONCE)
    [seen] = [report for report in heartbeats.workers() if report.pid == worker.process.pid]
    wait_until(lambda: heartbeats.workers()[-1].active == AT_ONCE)
    assert (seen.pool, seen.concurrency, unacknowledged()) == ("asyncio", AT_ONCE, AT_ONCE)

    worker.process.send_signal(signal.SIGTERM)
    with pytest.raises(AssertionError):
        wait_until(lambda: worker.process.poll() is not None, 1)
    client().set(tasks.RELEASE, 1)

    wait_until(lambda: worker.process.poll() == 0, explain=lambda: worker.log)
    assert states() == ["done"] * AT_ONCE
    assert unacknowledged() == 0
    assert set(TaskRun.objects.values_list("attempts", flat=True)) == {1}


def test_what_fails_after_it_went_on_has_failed_and_is_acknowledged(worker):
    [task_id] = begin(1, fails=True)

    client().set(tasks.RELEASE, 1)

    wait_until(lambda: states() == ["failed"])
    assert TaskRun.objects.get(pk=task_id).error == "ValueError: this is the reason"
    wait_until(lambda: unacknowledged() == 0)
