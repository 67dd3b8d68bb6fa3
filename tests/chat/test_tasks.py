import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection
from django.utils import timezone

from chat import services, tasks, working
from chat.models import Message
from core import jobs
from core.jobs import CLAIMS_MAX
from core.states import State
from tests.sessions import at_once, in_own_session
from tests.workers import running_worker, wait_until

pytestmark = pytest.mark.django_db(transaction=True)


def ask(tenant, question="Within how many days can I return an item?"):
    return services.ask(tenant=tenant, question=question, user_id="u1")


def sessions():
    with connection.cursor() as cursor:
        cursor.execute("SELECT pid FROM pg_stat_activity WHERE datname = current_database()")
        return {pid for (pid,) in cursor.fetchall()}


def endings():
    return Counter(Message.objects.values_list("state", "finish_reason", "error_code"))


def test_a_question_is_answered_from_the_site_with_its_citation(tenant, site, rung):
    message = ask(tenant)

    tasks.answer_message_task(message_id=rung[0])

    message.refresh_from_db()
    assert (message.state, message.finish_reason, message.model) == (State.DONE, "answered", "extractive")
    assert "You can return any item within 30 days of delivery. [1]" in message.answer
    assert message.citations[0]["url"] == "https://acme.example/refunds"
    assert message.citations[0]["quote"] == "You can return any item within 30 days of delivery."
    assert message.lease_token is None
    assert message.created_at <= message.started_at <= message.first_token_at <= message.finished_at


def test_twenty_deliveries_of_one_message_give_one_answer(tenant, site, rung, use_model, model_server):
    use_model("good")
    message = ask(tenant)

    at_once(20, lambda _number: tasks.answer_message_task(message_id=str(message.pk)))

    message.refresh_from_db()
    assert (message.state, message.attempt, model_server.calls) == (State.DONE, 1, 1)


def test_a_message_that_is_over_or_unknown_is_not_touched(tenant, rung):
    message = ask(tenant)
    Message.objects.update(state=State.FAILED)

    tasks.answer_message_task(message_id=str(message.pk))
    tasks.answer_message_task(message_id="00000000-0000-0000-0000-000000000000")

    message.refresh_from_db()
    assert (message.state, message.attempt) == (State.FAILED, 0)


def test_a_living_lease_is_respected_and_an_expired_one_is_taken_over(tenant, rung):
    message = ask(tenant)
    first = Message.objects.claim(message.pk)

    assert Message.objects.claim(message.pk) is None
    Message.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    second = Message.objects.claim(message.pk)

    assert second.attempt == 2
    assert second.lease_token != first.lease_token
    assert not first.let_go(state=State.DONE, answer="the zombie's")
    assert second.let_go(state=State.DONE, answer="mine")
    message.refresh_from_db()
    assert message.answer == "mine"


def test_after_the_last_attempt_nobody_can_claim(tenant, rung, settings):
    message = ask(tenant)
    for _ in range(CLAIMS_MAX):
        assert Message.objects.claim(message.pk)
        Message.objects.update(lease_until=timezone.now() - timedelta(seconds=1))

    assert Message.objects.claim(message.pk) is None


def test_parallel_claims_do_not_overdraw_a_tenants_room(tenant, rung, settings):
    settings.CHAT_ANSWERS_PER_TENANT = 3
    messages = [ask(tenant, f"Question {n}?") for n in range(12)]

    with ThreadPoolExecutor(12) as pool:
        claimed = list(pool.map(in_own_session(lambda message: Message.objects.claim(message.pk)), messages))

    assert sum(message is not None for message in claimed) == 3
    assert Message.objects.held().count() == 9


def test_who_finishes_starts_the_tenants_next(tenant, site, rung, settings):
    settings.CHAT_ANSWERS_PER_TENANT = 1
    first, second = ask(tenant), ask(tenant)
    running = Message.objects.claim(first.pk)
    tasks.answer_message_task(message_id=str(second.pk))
    assert Message.objects.get(pk=second.pk).state == State.QUEUED
    rung.clear()

    working.work(running)
    tasks.ring_next(tenant.pk)

    assert rung == [str(second.pk)]


def test_an_expected_failure_closes_the_row_with_its_name(tenant, site, rung, use_model):
    use_model("status401")
    message = ask(tenant)

    tasks.answer_message_task(message_id=str(message.pk))

    message.refresh_from_db()
    assert (message.state, message.error_code, message.finish_reason) == (State.FAILED, "llm_refused", "error")
    assert message.error


def test_a_broken_stream_keeps_the_text_so_far(tenant, site, rung, use_model):
    use_model("half")
    message = ask(tenant)

    tasks.answer_message_task(message_id=str(message.pk))

    message.refresh_from_db()
    assert (message.state, message.error_code, message.answer) == (State.FAILED, "llm_broken_stream", "You can return")


def test_a_bug_closes_the_row_and_surfaces(tenant, rung, monkeypatch):
    def broken(**_kwargs):
        raise ZeroDivisionError

    monkeypatch.setattr("chat.answering.steps.search", broken)
    message = ask(tenant)

    with pytest.raises(ZeroDivisionError):
        tasks.answer_message_task(message_id=str(message.pk))

    message.refresh_from_db()
    assert (message.state, message.error_code) == (State.FAILED, "internal_error")


def test_stop_in_mid_stream_keeps_the_text_so_far(tenant, site, rung, use_model, model_server):
    use_model("waits")
    message = ask(tenant)
    thread = threading.Thread(target=in_own_session(lambda: tasks.answer_message_task(message_id=message.pk)))
    thread.start()
    wait_until(lambda: model_server.calls and Message.objects.get().state == State.RUNNING)
    wait_until(lambda: "So far" in streamed(message))

    services.request_stop(message=message)
    thread.join(10)

    message.refresh_from_db()
    assert (message.state, message.finish_reason) == (State.DONE, "stopped")
    assert message.answer == "So far [1]. "
    assert [citation["n"] for citation in message.citations] == [1]
    assert message.model == "waits"
    assert model_server.dropped.wait(5)


def streamed(message):
    from chat.stream import key_of
    from core.redis import client

    return "".join(fields["data"] for _id, fields in client().xrange(key_of(message.pk)))


def test_leases_are_renewed_while_an_answer_takes_long_and_a_lost_one_is_noticed(tenant, rung, settings, monkeypatch):
    settings.JOB_RENEW_SECONDS = 0.1
    monkeypatch.setattr(jobs.keeping, "LOOK_EVERY_SECONDS", 0.05)
    message = Message.objects.claim(ask(tenant).pk)

    with jobs.kept(message) as lease:
        wait_until(lambda: Message.objects.get().lease_until > message.lease_until)
        assert not lease.is_over
        Message.objects.update(lease_token="00000000-0000-0000-0000-000000000001")
        wait_until(lambda: lease.is_lost)


@pytest.mark.slow
def test_eighty_answers_wait_for_their_model_without_a_thread_or_a_session_of_their_own(tenant, site, model_server):
    for n in range(80):
        ask(tenant, f"Within how many days can I return item {n}?")
    others = sessions()  # this one, and what other tests' threads have left
    env = {
        "LLM_BASE_URL": model_server.url,
        "LLM_MODEL": "waits",
        "CHAT_ANSWERS_PER_TENANT": "100",
        "ANSWER_THREADS": "4",
        "DATABASE_SESSION_IDLE_SECONDS": "0",  # so that whatever is open is held
    }
    with running_worker(concurrency=100, env=env) as worker:
        wait_until(lambda: model_server.calls == 80, 60, lambda: worker.log)
        wait_until(lambda: len(sessions() - others) <= 2, 5)  # the leases' keeper, and what shows that it lives
        threads = len(list(Path(f"/proc/{worker.process.pid}/task").iterdir()))
        model_server.goes_on.set()
        wait_until(lambda: endings() == {(State.DONE, "answered", ""): 80}, explain=endings)

    assert threads < 25  # four for work, one for the loop; the rest are the worker's own
