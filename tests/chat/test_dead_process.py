"""A process that died is noticed by its lock, and its jobs are taken up without waiting for their leases."""

import os
import signal
import subprocess
import sys

import pytest
from django.db import connection

from chat import services, sweeping
from chat.models import Message
from core.jobs import deaths, has_forgotten, kept
from core.jobs.deaths import Watch
from core.jobs.presence import LOCKS, Presence, of_this_process
from core.postgres import lasting
from tests.workers import BASE_DIR, environment, wait_until

ONE, TWO = 1, 2
CLAIM = """
import sys, time, django
django.setup()
from chat.models import Message
assert Message.objects.claim(sys.argv[1])
print("claimed", flush=True)
time.sleep(60)
"""


def present():
    return lasting.held(LOCKS)[1]


def end_presence_sessions():
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE application_name = %s",
            [lasting.APPLICATION_NAME],
        )


@pytest.fixture
def claiming(tenant, rung):
    """A process that has claimed a question and works on it."""
    message = services.ask(tenant=tenant, question="How?", user_id="u")
    command = [sys.executable, "-c", CLAIM, str(message.pk)]
    with subprocess.Popen(command, cwd=BASE_DIR, env=environment(), stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"claimed\n"
        yield process
        process.kill()


@pytest.mark.django_db(transaction=True)
@pytest.mark.slow
def test_the_questions_of_a_killed_process_are_rung_for_once_it_is_missed(claiming, rung, redis_client):
    has_forgotten("chat")
    rung.clear()
    deaths.sweep()
    assert (deaths.sweep(), sweeping.sweep()) == (0, 0)
    before = present()

    os.kill(claiming.pid, signal.SIGKILL)
    wait_until(lambda: present() < before)
    assert deaths.sweep() == 1
    assert has_forgotten("chat"), "others may have been in its hands, not yet claimed"
    assert sweeping.sweep() == 1

    message = Message.objects.get()
    assert rung == [str(message.pk)]
    assert Message.objects.claim(message.pk).attempt == 2


@pytest.mark.django_db(transaction=True)
def test_a_living_process_that_lost_its_session_takes_its_lock_again_and_keeps_its_jobs(tenant, rung):
    claimed = Message.objects.claim(services.ask(tenant=tenant, question="How?", user_id="u").pk)
    with kept(claimed):
        number = of_this_process().number
        deaths.sweep()
        end_presence_sessions()
        wait_until(lambda: number in present())

        assert deaths.sweep() == 0
        assert Message.objects.leased().filter(pk=claimed.pk).exists()


@pytest.mark.django_db(transaction=True)
def test_a_claim_names_its_process_which_is_there_for_all_to_see():
    presence = Presence()
    assert presence.new_token().int >> 96 == presence.number
    assert presence.new_token() != presence.new_token()
    assert presence.number in present()

    presence.lock.release()
    wait_until(lambda: presence.number not in present())


@pytest.mark.django_db(transaction=True)
def test_a_process_behind_a_pooler_is_never_seen_and_so_never_missed(monkeypatch):
    monkeypatch.setattr(lasting, "_TAKE", lasting._TAKE.replace("pg_backend_pid() =", "pg_backend_pid() <>"))
    presence = Presence()

    assert presence.new_token().int >> 96 == presence.number
    assert not presence.lock.is_held()
    assert presence.number not in present()


@pytest.mark.django_db(transaction=True)
def test_who_has_no_session_for_a_lock_still_claims(monkeypatch):
    presence = Presence()
    monkeypatch.setitem(connection.settings_dict, "PORT", 1)

    assert presence.new_token()
    assert not presence.lock.is_held()


@pytest.mark.django_db(transaction=True)
def test_each_kind_of_job_can_be_handed_on():
    """One statement for each, on the real schema."""
    assert deaths._hand_on_jobs_of(of_this_process().number) == 0


@pytest.mark.parametrize(
    ("looks", "dead"),
    [
        ([{ONE, TWO}, {TWO}], {ONE}),
        ([{ONE}, {ONE, TWO}, {ONE}], {TWO}),
        ([{TWO}, {TWO}], set()),
    ],
    ids=["there at first", "came later", "never seen"],
)
def test_only_who_was_seen_and_is_missed_is_dead(looks, dead):
    watch = Watch()
    assert set().union(*(watch.look(7, present) for present in looks)) == dead


def test_after_a_restart_of_the_server_nobody_is_missed():
    watch = Watch()
    assert [watch.look(session, present) for session, present in ((7, {ONE}), (8, set()), (8, set()))] == [set()] * 3


def test_the_dead_are_told_of_once():
    watch = Watch()
    assert [watch.look(7, present) for present in ({ONE}, set(), set())] == [set(), {ONE}, set()]
