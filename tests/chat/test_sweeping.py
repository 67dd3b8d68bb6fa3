from datetime import timedelta

import pytest
from celery import signals
from django.utils import timezone

from chat import services, sweeping, tasks
from chat.models import Message
from core.jobs import CLAIMS_MAX, has_forgotten
from core.redis import client
from core.states import State
from tests.chat.model_server import running_model_server
from tests.sessions import at_once
from tests.workers import running_worker, wait_until

pytestmark = pytest.mark.django_db(transaction=True)

QUESTION = "Within how many days can I return an item?"


@pytest.fixture(autouse=True)
def broker_that_remembers():
    has_forgotten("chat")


def ask(tenant, question=QUESTION):
    return services.ask(tenant=tenant, question=question, user_id="u1")


def ago(seconds):
    return timezone.now() - timedelta(seconds=seconds)


def test_a_message_just_sent_is_left_alone_and_one_unheard_is_sent_once_per_gap(tenant, rung, settings):
    message = ask(tenant)
    rung.clear()
    assert sweeping.sweep() == 0

    Message.objects.update(created_at=ago(3.1), sent_at=ago(3.1))
    assert sweeping.sweep() == 1
    assert sweeping.sweep() == 0
    assert rung == [str(message.pk)]


def test_an_emptied_broker_has_every_waiting_message_sent_again_at_once_and_once(tenant, rung):
    message = ask(tenant)
    rung.clear()
    client().flushdb()

    assert sweeping.sweep() == 1
    assert sweeping.sweep() == 0
    assert rung == [str(message.pk)]


def test_a_worker_that_starts_has_waiting_messages_sent_again_since_one_before_it_may_have_died(tenant, rung):
    message = ask(tenant)
    rung.clear()
    signals.worker_ready.send(sender=None)

    assert sweeping.sweep() == 1
    assert sweeping.sweep() == 0
    assert rung == [str(message.pk)]


@pytest.mark.parametrize(("deaths", "queue"), [(1, None), (2, "default")])
def test_the_last_try_is_made_alone_so_that_who_died_beside_a_killer_is_answered(tenant, monkeypatch, deaths, queue):
    sent = []
    monkeypatch.setattr(tasks.answer_message_task, "apply_async", lambda **options: sent.append(options))
    message = ask(tenant)
    for _ in range(deaths):
        Message.objects.claim(message.pk)
        Message.objects.update(lease_until=ago(0.1), sent_at=ago(60), created_at=ago(60))
    sent.clear()

    sweeping.sweep()

    assert [options.get("queue") for options in sent] == [queue]


def test_the_gap_between_two_rings_doubles_up_to_its_limit(tenant, rung):
    ask(tenant)
    for age, since, is_due in [(7, 3.4, False), (7, 3.6, True), (60, 29, False), (3600, 29, False), (3600, 31, True)]:
        Message.objects.update(created_at=ago(age), sent_at=ago(since))
        assert Message.objects.unheard().exists() == is_due, (age, since)


def test_a_message_whose_publish_failed_is_due_at_once(tenant, rung):
    ask(tenant)
    Message.objects.update(sent_at=None)

    assert sweeping.sweep() == 1


def test_an_expired_lease_is_sent_again_and_a_living_one_is_not(tenant, rung):
    message = ask(tenant)
    Message.objects.claim(message.pk)
    Message.objects.update(sent_at=ago(60), created_at=ago(60))
    rung.clear()

    assert sweeping.sweep() == 0
    Message.objects.update(lease_until=ago(0.1))
    assert sweeping.sweep() == 1
    assert rung == [str(message.pk)]


def test_used_up_attempts_fail_the_message_with_a_reason_people_can_read(tenant, rung, settings):
    message = ask(tenant)
    for _ in range(CLAIMS_MAX):
        Message.objects.claim(message.pk)
        Message.objects.update(lease_until=ago(1))

    assert sweeping.sweep() == 1

    message.refresh_from_db()
    assert (message.state, message.error_code, message.finish_reason) == (State.FAILED, "attempts_used_up", "error")
    assert "3 times" in message.error
    assert sweeping.sweep() == 0


def test_without_a_broker_a_sweep_tries_one_row_and_marks_none(tenant, rung, monkeypatch):
    for n in range(5):
        ask(tenant, f"{n}?")
    Message.objects.update(created_at=ago(10), sent_at=ago(10))
    tried = []
    monkeypatch.setattr(tasks, "ring", lambda *ids: bool(tried.append(ids)))

    assert sweeping.sweep() == 0

    assert len(tried) == 1
    assert Message.objects.unheard().count() == 5


def test_a_tenant_at_its_limit_does_not_keep_the_sweeper_from_others(tenant, rung, settings):
    from tenants import services as tenants

    settings.CHAT_ANSWERS_PER_TENANT = 1
    other = tenants.create_tenant(slug="other")
    messages = [ask(tenant, f"{n}?") for n in range(10)]
    Message.objects.claim(messages[0].pk)
    late = ask(other)
    Message.objects.filter(state=State.QUEUED).update(created_at=ago(10), sent_at=None)
    rung.clear()

    assert sweeping.sweep(limit=3) == 1
    assert rung == [str(late.pk)]


def test_tenants_take_turns(tenant, rung):
    from tenants import services as tenants

    other = tenants.create_tenant(slug="other")
    for n in range(5):
        ask(tenant, f"{n}?")
    late = ask(other)
    Message.objects.update(sent_at=None)
    rung.clear()

    sweeping.sweep(limit=2)

    assert str(late.pk) in rung


def test_two_sweepers_do_not_ring_twice(tenant, rung):
    for n in range(30):
        ask(tenant, f"{n}?")
    Message.objects.update(created_at=ago(10), sent_at=ago(10))
    rung.clear()

    at_once(2, lambda _number: sweeping.sweep())

    assert len(rung) == len(set(rung)) == 30


def sweep_until(condition, seconds=40):
    """Sweep as the sweeper process does, often."""

    def swept():
        sweeping.sweep()
        return condition()

    wait_until(swept, seconds, lambda: list(Message.objects.values("state", "attempt", "error", "sent_at")))


@pytest.mark.slow
def test_a_publish_that_never_happened_is_answered(tenant, site, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(tasks, "ring", lambda *_ids, **_options: False)
        ask(tenant)

    with running_worker():
        sweep_until(lambda: Message.objects.filter(state=State.DONE, finish_reason="answered").exists())


@pytest.mark.slow
def test_a_worker_killed_in_mid_answer_is_replaced_and_there_is_one_answer(tenant, site, settings):
    with running_model_server() as model:
        env = {"LLM_BASE_URL": model.url, "LLM_MODEL": "waits"}
        with running_worker(env=env) as first:
            messages = [ask(tenant, f"{QUESTION} {n}") for n in range(3)]
            wait_until(lambda: model.calls == 3)
            first.kill()
        model.goes_on.set()
        assert Message.objects.filter(state=State.RUNNING).count() == 3
        Message.objects.update(lease_until=ago(0))  # as if the lease's seconds had passed
        with running_worker(env=env):
            sweep_until(lambda: Message.objects.filter(state=State.DONE).count() == 3)

    for message in messages:
        message.refresh_from_db()
        assert (message.attempt, message.finish_reason) == (2, "answered")
        assert message.answer == "So far [1]. The end."
        names = [fields["event"] for fields in stream_of(message)]
        assert names.count("done") == 1
        assert "reset" in names


def stream_of(message):
    from chat.stream import key_of
    from core.redis import client

    return [fields for _id, fields in client().xrange(key_of(message.pk))]


@pytest.mark.slow
def test_duplicates_of_a_message_and_a_stop_meet_a_real_worker(tenant, site, settings):
    with running_model_server() as model:
        env = {"LLM_BASE_URL": model.url, "LLM_MODEL": "waits"}
        with running_worker(env=env):
            message = ask(tenant)
            for _ in range(20):
                tasks.ring(message.pk, message.task_id, message.tenant_id)
            wait_until(lambda: any(fields["event"] == "delta" for fields in stream_of(message)))
            services.request_stop(message=message)
            wait_until(lambda: Message.objects.filter(state=State.DONE).exists())
            assert model.dropped.wait(5)
            message.refresh_from_db()
            assert (message.finish_reason, message.answer, message.attempt) == ("stopped", "So far [1]. ", 1)
        assert model.calls == 1
