"""What only real workers show: who consumes what, and that busy background workers never hold a chat."""

import pytest

from bench.world import stop
from chat import services
from chat.models import Message
from core import queues
from core.celery import app
from core.redis import client
from core.states import State
from tenants.services import create_tenant
from tests.isolation.holding import HELD

pytestmark = pytest.mark.slow

SLOTS = 4
CHATS = 30


@pytest.fixture
def tenant(installation):
    return create_tenant(slug="acme")


def hold_every_slot(installation):
    """Occupy the background worker, its queues empty: the state in which a shared worker would take chats."""
    for _ in range(SLOTS):
        app.send_task("crawl.hold_for_test")
    installation.wait_for(lambda: client().get(HELD) == str(SLOTS), "the slots were not taken")
    assert queues.length(client(), queues.LOW_PRIORITY) == 0


def ask(tenant, count):
    return [services.ask(tenant=tenant, question=f"Question {number}?", user_id="ali").pk for number in range(count)]


def answered(ids):
    return Message.objects.filter(pk__in=ids, state=State.DONE).count()


def unacknowledged():
    return client().zcard("unacked_index") + client().hlen("unacked")


def consumed():
    found = app.control.inspect(timeout=2, limit=4).active_queues() or {}
    return {node.partition("@")[0]: {queue["name"] for queue in consumed} for node, consumed in found.items()}


def test_the_services_consume_what_the_client_named_but_never_chat_beside_other_work(installation):
    installation.ensure("celery_ai", "celery_worker")

    installation.wait_for(lambda: set(consumed()) == {"ai1", "ai2", "bg", "standby"}, "not all workers are ready")
    seen = consumed()

    assert seen["ai1"] == seen["ai2"] == {"high_priority"}
    assert seen["bg"] | seen["standby"] == {"high_priority", "default", "low_priority"}
    assert all(names == {"high_priority"} for names in seen.values() if "high_priority" in names)


def test_no_chat_waits_for_a_background_worker_whose_slots_are_all_taken(installation, tenant):
    installation.ensure("celery_ai", "celery_worker")
    hold_every_slot(installation)

    ids = ask(tenant, CHATS)

    installation.wait_for(lambda: answered(ids) == CHATS, "a chat waits")
    assert client().get(HELD) == str(SLOTS), "every crawl was still running when the last chat was answered"
    assert client().llen(queues.HIGH_PRIORITY) == 0


def test_with_celery_ai_stopped_the_standby_answers_beside_busy_crawls(installation, tenant):
    installation.ensure("celery_worker")
    if "celery_ai" in installation.running:
        installation.stop("celery_ai")
    hold_every_slot(installation)

    ids = ask(tenant, CHATS)

    installation.wait_for(lambda: answered(ids) == CHATS, "a chat waits")
    assert client().get(HELD) == str(SLOTS)


def test_a_stopped_background_worker_puts_its_work_back_and_leaves_nothing_unacknowledged(installation):
    installation.ensure("celery_worker")
    hold_every_slot(installation)

    installation.stop("celery_worker")

    assert queues.length(client(), queues.LOW_PRIORITY) == SLOTS
    assert unacknowledged() == 0


def test_a_stopped_chat_worker_finishes_its_answers_and_leaves_nothing_unacknowledged(installation, tenant):
    installation.ensure("celery_ai")
    ids = ask(tenant, CHATS)

    installation.stop("celery_ai")

    open_ids = Message.objects.filter(pk__in=ids).exclude(state=State.DONE)
    assert not open_ids.filter(state=State.RUNNING).exists()
    assert client().llen(queues.HIGH_PRIORITY) == open_ids.count(), "what was not begun is still in its queue"
    assert unacknowledged() == 0


def test_a_worker_that_would_mix_chat_with_other_work_refuses_to_start(installation):
    command = ["python", "-m", "celery", "-A", "core", "worker", "-n", "mixed@%h", "-Q", "high_priority,low_priority"]
    process = installation.world.start("mixed", command, **installation.environ)

    installation.wait_for(lambda: process.poll() is not None, "it started")

    assert process.returncode != 0
    assert "must not consume both" in installation.world.log("mixed").read_text()
    stop(process)
