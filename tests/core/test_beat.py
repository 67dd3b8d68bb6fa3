import signal

import pytest
from django.db import connection
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from core import processes, queues, schedules
from core.beat import LOCK_ID, Leadership
from tests.core import process_sessions
from tests.workers import wait_until


@pytest.fixture
def two_beats(service_environ, redis_client, tmp_path):
    every_second = IntervalSchedule.objects.create(every=1, period=IntervalSchedule.SECONDS)
    PeriodicTask.objects.create(
        name="test", task="core.nobody_runs_this", queue=queues.DEFAULT, interval=every_second,
        last_run_at=timezone.now(),
    )  # fmt: skip
    command = processes.BY_NAME["celery_beat"].command
    logs = [tmp_path / "first.log", tmp_path / "second.log"]
    beats = [process_sessions.start(command, service_environ, log) for log in logs]
    yield list(zip(beats, logs, strict=True))
    for beat in beats:
        process_sessions.end(beat)


def leads(log):
    return "beat leads now" in log.read_text()


@pytest.mark.slow
def test_two_beats_send_each_due_task_once_and_one_takes_over(two_beats, redis_client):
    def sent():
        return queues.length(redis_client, queues.DEFAULT)

    wait_until(lambda: sent() >= 4, 60, two_beats[0][1].read_text)
    urgent = queues.list_of(queues.DEFAULT, queues.LEVELS[0])
    assert redis_client.llen(urgent) >= 4, "what is due waited behind the tenants' work"
    recorded = PeriodicTask.objects.get().total_run_count
    assert recorded <= sent() <= recorded + 2, "tasks were sent more often than they were due"
    [(leader, leader_log)] = [pair for pair in two_beats if leads(pair[1])]
    [(_standby, standby_log)] = [pair for pair in two_beats if pair[1] != leader_log]

    leader.send_signal(signal.SIGKILL)
    leader.wait(timeout=10)
    before = sent()

    wait_until(lambda: leads(standby_log), 20, standby_log.read_text)
    wait_until(lambda: sent() >= before + 2, 20, standby_log.read_text)


@pytest.mark.django_db(transaction=True)
def test_leadership_is_held_by_one_and_passes_on_when_it_is_released():
    first, second = Leadership(), Leadership()

    assert first.is_held()
    assert first.is_held()
    assert not second.is_held()

    first.release()
    wait_until(second.is_held)  # the server ends a session a moment after its client has
    second.release()
    wait_until(is_free)  # a kept session would keep its lock


def is_free():
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = %s", [LOCK_ID & 0xFFFFFFFF]
        )
        return cursor.fetchone()[0] == 0


@pytest.mark.django_db
def test_seeding_twice_makes_each_row_once():
    assert schedules.seed() == [schedule.row_name for schedule in schedules.SCHEDULES]
    assert schedules.seed() == []
    assert PeriodicTask.objects.count() == len(schedules.SCHEDULES)


@pytest.mark.django_db
def test_seeding_leaves_a_row_as_its_operator_changed_it():
    schedules.seed()
    PeriodicTask.objects.update(enabled=False, queue="default", expire_seconds=7)

    schedules.seed()

    assert set(PeriodicTask.objects.values_list("enabled", "queue", "expire_seconds")) == {(False, "default", 7)}


@pytest.mark.django_db
def test_seeded_rows_name_a_queue_expire_after_one_period_and_count_from_now():
    schedules.seed()

    for row in PeriodicTask.objects.all():
        assert row.queue in queues.NAMES
        assert row.expire_seconds
        assert row.last_run_at is not None
