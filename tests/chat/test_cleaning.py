"""What cleaning takes away, what it leaves, and that it ends."""

import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import transaction
from django.utils import timezone

from chat import cleaning, query_cache, services, tasks
from chat.answering.steps import author
from chat.errors import ConversationNotFoundError
from chat.models import CachedAnswer, Conversation, Message
from core import batches, queues
from core.celery import app
from core.schedules import SCHEDULES
from knowledge import version
from tenants import services as tenants
from tenants.models import Tenant
from tests.sessions import in_own_session
from tests.workers import running_worker, wait_until

pytestmark = pytest.mark.django_db


def days_ago(days):
    return timezone.now() - timedelta(days=days)


def cached(tenant, **values):
    now = timezone.now()
    current = {
        "key": uuid.uuid4().hex,
        "knowledge_version": version.current(tenant),
        "basis": query_cache.basis(author()),
        "finish_reason": "answered",
        "used_at": now,
        "expires_at": now + timedelta(days=1),
    }
    return CachedAnswer.objects.create(tenant=tenant, **current | values)


def talk(tenant, *, silent_days=0, begun_days=None, archived_days=None, state="done"):
    """A conversation of two questions, the last of them so many days ago."""
    begun = days_ago(silent_days if begun_days is None else begun_days)
    archived_at = None if archived_days is None else days_ago(archived_days)
    conversation = Conversation.objects.create(tenant=tenant, title="talk", archived_at=archived_at)
    Conversation.objects.filter(pk=conversation.pk).update(created_at=begun)
    for at in (begun, days_ago(silent_days)):
        message = Message.objects.create(tenant=tenant, conversation=conversation, question="?", state=state)
        Message.objects.filter(pk=message.pk).update(created_at=at)
    return conversation


def keep(tenant, archive, erase=None):
    Tenant.objects.filter(pk=tenant.pk).update(archive_after_days=archive, erase_after_days=erase)


def archived():
    return set(Conversation.objects.exclude(archived_at=None))


def test_a_cached_answer_whose_time_is_over_goes(tenant):
    cached(tenant, expires_at=timezone.now())
    stays = cached(tenant)

    assert cleaning.forget_expired_answers(10) == 1
    assert CachedAnswer.objects.get() == stays


def test_of_too_many_cached_answers_the_longest_unused_go_tenant_by_tenant(tenant, settings):
    settings.QUERY_CACHE_ANSWERS_PER_TENANT = 2
    other = tenants.create_tenant(slug="other")
    rows = [cached(tenant, used_at=days_ago(days)) for days in (3, 1, 2, 4)]
    cached(other), cached(other)

    assert cleaning.forget_answers_beyond_limit(10) == 2
    assert cleaning.forget_answers_beyond_limit(10) == 0
    assert set(CachedAnswer.objects.for_tenant(tenant)) == {rows[1], rows[2]}
    assert CachedAnswer.objects.for_tenant(other).count() == 2


def test_cached_answers_of_older_knowledge_or_another_model_go(tenant):
    other = tenants.create_tenant(slug="other")
    cached(tenant)
    version.add_change(tenant.pk)
    cached(other, basis="of another model")
    stay = {cached(tenant), cached(other)}

    assert cleaning.forget_outdated_answers(10) == 2
    assert set(CachedAnswer.objects.all()) == stay


def test_cached_answers_that_nobody_asks_for_go(tenant, settings):
    cached(tenant, used_at=days_ago(settings.QUERY_CACHE_UNUSED_DAYS + 1))
    stays = cached(tenant)

    assert tasks.cleanup_query_cache() == {"outdated_answers": 0, "unused_answers": 1}
    assert CachedAnswer.objects.get() == stays


def test_a_tenant_that_says_nothing_keeps_everything(tenant):
    talk(tenant, silent_days=5000)

    assert tasks.cleanup_old_conversations() == {
        "archived_conversations": 0,
        "erased_rows": 0,
    }
    assert archived() == set()


def test_conversations_are_archived_after_their_own_tenants_days_of_silence(tenant):
    other = tenants.create_tenant(slug="other")
    keep(tenant, 30)
    keep(other, 90)
    old = talk(tenant, silent_days=31)
    talk(tenant, silent_days=29)
    talk(tenant, silent_days=1, begun_days=400)
    talk(tenant, silent_days=40, state="queued")
    talk(other, silent_days=89)
    very_old = talk(other, silent_days=91)

    assert cleaning.archive_conversations(10) == 2
    assert archived() == {old, very_old}
    assert cleaning.archive_conversations(10) == 0


def test_archived_conversations_stay_readable_until_their_time_is_up_then_are_erased(tenant, api_key, client):
    keep(tenant, 30, 60)
    waiting, over = talk(tenant, silent_days=89, archived_days=59), talk(tenant, silent_days=91, archived_days=61)
    key = {"X-API-Key": api_key}

    assert client.get(f"/api/v1/conversations/{over.pk}/export", headers=key).status_code == 200
    counts = tasks.cleanup_old_conversations()

    assert counts == {"archived_conversations": 0, "erased_rows": 3}
    assert Conversation.objects.get() == waiting
    assert Message.objects.count() == 2
    exported = client.get(f"/api/v1/conversations/{waiting.pk}/export", headers=key).json()
    assert exported["archived_at"]
    assert len(exported["messages"]) == 2
    assert client.get(f"/api/v1/conversations/{over.pk}/export", headers=key).status_code == 404


def test_a_conversation_is_erased_only_when_it_is_empty_however_the_batches_fall(tenant):
    keep(tenant, 1, 1)
    talk(tenant, silent_days=9, archived_days=9)

    assert cleaning.erase_conversations(1) == 1
    assert (Conversation.objects.count(), Message.objects.count()) == (1, 1)
    assert cleaning.erase_conversations(1) == 2
    assert not Conversation.objects.exists()


def test_a_backlog_of_many_batches_is_erased_in_one_run(tenant, monkeypatch):
    monkeypatch.setattr(batches, "BATCH", 2)
    keep(tenant, 1, 1)
    for _ in range(7):
        talk(tenant, silent_days=9, archived_days=9)

    assert batches.run(cleaning.CONVERSATIONS) == {"archived_conversations": 0, "erased_rows": 21}


def test_an_absurd_retention_harms_nobody(tenant):
    keep(tenant, 2**31 - 1, 2**31 - 1)
    talk(tenant, silent_days=10, archived_days=10)

    assert sum(tasks.cleanup_old_conversations().values()) == 0


def test_to_ask_in_an_archived_conversation_brings_it_back(tenant, rung):
    end_user = tenants.get_end_user(tenant=tenant, external_id="u1")
    conversation = talk(tenant, archived_days=9)
    Conversation.objects.update(end_user=end_user)

    services.ask(tenant=tenant, question="And now?", user_id="u1", conversation_id=conversation.pk)

    assert archived() == set()
    with pytest.raises(ConversationNotFoundError):
        services.ask(tenant=tenant, question="Mine?", user_id="u2", conversation_id=conversation.pk)


def test_an_archived_conversation_leaves_the_chat_pages_list_and_keeps_its_address(tenant, admin_user, client):
    tenants.add_member(tenant=tenant, user=admin_user)
    client.force_login(admin_user)
    conversation = talk(tenant)
    Conversation.objects.update(member=admin_user, title="Old talk")
    assert "Old talk" in client.get("/").content.decode()

    Conversation.objects.update(archived_at=timezone.now())

    assert "Old talk" not in client.get("/").content.decode()
    assert client.get(f"/chat/{conversation.pk}/").status_code == 200


def test_erasing_needs_archiving(tenant):
    from django.core.exceptions import ValidationError

    tenant.archive_after_days, tenant.erase_after_days = None, 9
    with pytest.raises(ValidationError, match="archived"):
        tenant.full_clean()


def test_every_statement_is_bounded(tenant):
    keep(tenant, 1, 1)
    for _ in range(3):
        cached(tenant, expires_at=days_ago(1), used_at=days_ago(99), basis="x")
        talk(tenant, silent_days=9)
        talk(tenant, silent_days=9, archived_days=9)

    for step in (*cleaning.CACHE.values(), *cleaning.QUERY_CACHE.values(), *cleaning.CONVERSATIONS.values()):
        assert step(2) <= (4 if step is cleaning.erase_conversations else 2)


def test_cleaning_goes_in_batches_until_one_is_short(tenant, monkeypatch):
    monkeypatch.setattr(batches, "BATCH", 2)
    for _ in range(5):
        cached(tenant, expires_at=days_ago(1))

    assert batches.run(cleaning.CACHE) == {"expired_answers": 5, "surplus_answers": 0}
    assert batches.run(cleaning.CACHE) == {"expired_answers": 0, "surplus_answers": 0}


@pytest.mark.parametrize("name", ["chat.cleanup_query_cache", "chat.cleanup_old_conversations"])
def test_cleaning_waits_behind_no_chat_and_is_scheduled(name):
    assert app.amqp.router.route({}, name)["queue"].name == queues.LOW_PRIORITY
    assert not app.tasks[name].ignore_result
    assert [row.queue for row in SCHEDULES if row.task == name] == [queues.LOW_PRIORITY]


@pytest.mark.django_db(transaction=True)
def test_a_conversation_in_which_somebody_asks_at_this_moment_is_not_erased(tenant, rung):
    keep(tenant, 1, 1)
    end_user = tenants.get_end_user(tenant=tenant, external_id="u1")
    conversation = talk(tenant, silent_days=9, archived_days=9)
    Conversation.objects.update(end_user=end_user)

    @in_own_session
    def clean():
        return cleaning.erase_conversations(10)

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            services.ask(tenant=tenant, question="And now?", user_id="u1", conversation_id=conversation.pk)
            assert pool.submit(clean).result() == 0
        assert pool.submit(clean).result() == 0

    assert Message.objects.filter(conversation=conversation).count() == 3


@pytest.mark.django_db(transaction=True)
def test_a_real_worker_cleans_and_leaves_its_counts(tenant, redis_client):
    from django_celery_results.models import TaskResult

    from tasks_api.models import TaskRun

    keep(tenant, 1)
    talk(tenant, silent_days=9)
    with running_worker(queues=[queues.LOW_PRIORITY], concurrency=1) as worker:
        sent = app.send_task("chat.cleanup_old_conversations")
        done = TaskResult.objects.filter(task_id=sent.id, status="SUCCESS")
        wait_until(done.exists, explain=lambda: worker.log)

    assert '"archived_conversations": 1' in done.get().result
    assert (TaskRun.objects.get().state, TaskRun.objects.get().queue) == ("done", "low_priority")
