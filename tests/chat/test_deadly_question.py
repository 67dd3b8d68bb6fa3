"""A question that kills whoever answers it, and one that died beside it."""

import pytest
from django.db.models.functions import Now

from bench import words
from chat import services, sweeping
from chat.models import Message
from core.jobs import CLAIMS_MAX
from tests.workers import running_worker, wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]


def die(messages):
    """Have the worker of these messages die, and the lease's seconds pass."""
    for message in messages:
        assert Message.objects.claim(message.pk)
    end_leases()


def end_leases():
    Message.objects.filter(state="running").update(lease_until=Now(), sent_at=None)


def test_the_killer_is_given_up_with_a_reason_and_who_died_beside_it_twice_is_answered(tenant, site, rung, monkeypatch):
    questions = [f"What is {words.DEADLY}?", "Within how many days can I return an item?"]
    killer, other = (services.ask(tenant=tenant, question=question, user_id="u") for question in questions)
    for _ in range(CLAIMS_MAX - 1):
        die([killer, other])
    monkeypatch.undo()  # from here on messages are really sent
    env = {"DJANGO_SETTINGS_MODULE": "bench.deadly", "EMBEDDING_BASE_URL": "http://127.0.0.1:9"}
    with running_worker(queues=["default"], pool="prefork", concurrency=1, env=env) as worker:
        sweeping.sweep()
        wait_until(lambda: not Message.objects.filter(attempt__lt=CLAIMS_MAX).exists(), explain=lambda: worker.log)
        wait_until(lambda: Message.objects.filter(pk=other.pk, state="done").exists(), explain=lambda: worker.log)
        end_leases()
        sweeping.sweep()

        assert worker.process.poll() is None
    killer.refresh_from_db()
    assert (killer.state, killer.error_code, killer.attempt) == ("failed", "attempts_used_up", CLAIMS_MAX)
    assert "cut off 3 times" in killer.error
