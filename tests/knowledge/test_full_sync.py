"""A full sync's life: slices, claims, messages, ends."""

from datetime import timedelta

import pytest
from django.db.models.functions import Now

from core.states import State
from knowledge import full_sync, services, sync_report, tasks
from knowledge.errors import EmbeddingRefusedError, EmbeddingUnavailableError
from knowledge.models import FullSync, Stage, SyncItem
from tasks_api.models import TaskRun
from tasks_api.revoking import revoke
from tenants.services import create_tenant
from tests.knowledge.full_syncs import begin, change_model, complete, models, step
from tests.sessions import at_once


def test_a_dead_workers_run_goes_on_at_its_cursor_and_the_dead_one_changes_nothing_more(
    server, settings, learn, tenant, bells
):
    learn(tenant, *(f"page number {number}" for number in range(40)))
    change_model(settings)
    run = begin(tenant, batch_size=16)
    step(run)
    FullSync.objects.update(not_before=Now() - timedelta(seconds=1))
    dead = FullSync.objects.claim(run.pk)
    batch = list(full_sync._waiting(dead).select_related("document").order_by("pk")[:16])
    vectors = full_sync._vectors(dead, batch)
    FullSync.objects.update(lease_until=Now() - timedelta(seconds=1))
    bells.clear()

    tasks.process_sync_queue()
    assert bells == [str(run.pk)]
    run = complete(run)

    assert (run.state, run.done) == (State.DONE, 40)
    assert not full_sync._save(dead, batch, vectors)
    assert FullSync.objects.get().done == 40
    assert server.count("served/b") == 40 + 16  # the dead one's batch twice, the others once


def test_only_one_of_two_workers_gets_a_slice(learn, tenant, embedder):
    learn(tenant, "text")
    run = begin(tenant)

    assert FullSync.objects.claim(run.pk) is not None
    assert FullSync.objects.claim(run.pk) is None
    assert tasks.trigger_full_sync_task(full_sync_id=str(run.pk)) is False


def test_asking_twice_gives_the_same_run_also_at_the_same_moment(transactional_db, embedder, bells):
    tenant = create_tenant(slug="acme")

    assert len(set(at_once(4, lambda _number: begin(tenant).pk))) == 1


def test_without_a_change_of_the_model_every_vector_is_made_again_in_its_place(learn, tenant, embedder):
    learn(tenant, *(f"page number {number}" for number in range(20)))
    embedder.asked.clear()

    run = complete(begin(tenant, batch_size=7))

    assert len(embedder.asked) == 20
    assert (run.total, run.done, run.state) == (20, 20, State.DONE)
    assert models() == {("stand-in/1", "")}
    assert complete(begin(tenant)).pk != run.pk  # once over, it may be asked for again


def test_a_model_that_fails_for_long_is_given_up_and_goes_on_where_it_was_when_asked(learn, tenant, embedder, settings):
    settings.KNOWLEDGE_FULL_SYNC_MAX_ATTEMPTS = 3
    learn(tenant, *(f"page number {number}" for number in range(20)))
    embedder.model, embedder.previous = "stand-in/2", {"stand-in/1"}
    run = step(begin(tenant, batch_size=16))
    embedder.error = EmbeddingUnavailableError("The model is away.")

    first = step(run)
    assert (first.state, first.error, first.done) == (State.QUEUED, "The model is away.", 16)
    step(run)
    with pytest.raises(EmbeddingUnavailableError):
        step(run)
    assert FullSync.objects.get().state == State.FAILED
    assert not sync_report.report(tenant).is_well

    embedder.error = None
    assert services.retry_failed(tenant=tenant) == (0, 1)
    run = complete(run)
    assert (run.state, run.done) == (State.DONE, 20)


def test_a_key_that_is_refused_spares_the_passages(learn, tenant, embedder):
    learn(tenant, "one", "two")
    embedder.error = EmbeddingRefusedError("HTTP 401")

    run = step(begin(tenant))

    assert (run.state, run.done, run.failed, run.error) == (State.QUEUED, 0, 0, "HTTP 401")


def test_the_task_without_an_id_opens_one_for_every_tenant_and_few_are_on_the_queue(
    db, learn, embedder, bells, settings
):
    tenants = [create_tenant(slug=f"t{number}") for number in range(5)]
    for tenant in tenants:
        learn(tenant, "text")
    create_tenant(slug="empty")

    assert tasks.trigger_full_sync_task(batch_size=10) == 5
    assert tasks.trigger_full_sync_task(10) == 5

    assert FullSync.objects.count() == 5
    assert set(FullSync.objects.values_list("batch_size", flat=True)) == {10}
    assert len(bells) == settings.KNOWLEDGE_FULL_SYNC_WINDOW == 2
    first = FullSync.objects.get(pk=bells[0])
    tasks.trigger_full_sync_task(full_sync_id=str(first.pk))
    assert len(bells) == 3
    assert bells[2] not in bells[:2]  # whoever waited longest, not the same again


def test_a_message_leaves_after_the_commit(learn, tenant, embedder, bells, django_capture_on_commit_callbacks):
    learn(tenant, "text")
    bells.clear()

    with django_capture_on_commit_callbacks(execute=True):
        run = begin(tenant)
        assert bells == []

    assert bells == [str(run.pk)]


def test_an_unreachable_broker_loses_no_run(learn, tenant, embedder, monkeypatch, django_capture_on_commit_callbacks):
    def refuse(**_kwargs: object) -> None:
        raise ConnectionError

    learn(tenant, "text")
    monkeypatch.setattr(tasks.trigger_full_sync_task, "apply_async", refuse)
    with django_capture_on_commit_callbacks(execute=True):
        begin(tenant)

    assert FullSync.objects.get().sent_at is None


def test_a_run_that_killed_every_worker_is_closed_but_never_once_it_has_switched(learn, tenant, stranger, embedder):
    for owner in (tenant, stranger):
        learn(owner, "text")
        FullSync.objects.claim(begin(owner).pk)
    FullSync.objects.update(lease_until=Now() - timedelta(seconds=1), claims=3)
    FullSync.objects.filter(tenant=stranger).update(stage=Stage.MOVING)

    assert full_sync.repair(limit=10) == 2

    closed = FullSync.objects.get(tenant=tenant)
    assert (closed.state, closed.finished_at is not None) == (State.FAILED, True)
    assert FullSync.objects.get(tenant=stranger).state == State.QUEUED
    assert FullSync.objects.claim(FullSync.objects.get(tenant=stranger).pk) is not None


def test_dead_letters_are_queued_again_by_hand(learn, tenant, stranger, embedder, sent):
    mine, theirs = learn(tenant, "text")[0], learn(stranger, "text")[0]
    SyncItem.objects.update(state=State.FAILED, attempts=5, error="The model was away.")

    assert services.retry_failed(tenant=tenant) == (1, 0)

    item = SyncItem.objects.get(document=mine)
    assert (item.state, item.attempts, item.error) == (State.QUEUED, 0, "")
    assert SyncItem.objects.get(document=theirs).state == State.FAILED


def test_a_run_may_be_stopped_until_it_has_switched(learn, tenant, embedder):
    learn(tenant, *(f"page number {number}" for number in range(20)))
    stopped = step(begin(tenant, batch_size=16))

    assert services.stop_full_sync(run_id=stopped.pk)
    assert step(stopped).state == State.FAILED
    assert services.retry_failed() == (0, 0)
    again = begin(tenant)
    while again.stage == Stage.EMBEDDING:
        again = step(again)
    assert not services.stop_full_sync(run_id=again.pk)
    assert complete(again).state == State.DONE


def test_revoking_its_task_stops_a_full_sync(learn, tenant, embedder):
    learn(tenant, "text")
    run = begin(tenant)
    task = TaskRun.objects.create(
        pk=run.pk, name="knowledge.trigger_full_sync_task", queue="low_priority", tenant=tenant,
        state="running", arguments={"full_sync_id": str(run.pk)},
    )  # fmt: skip

    revoke(task)

    run.refresh_from_db()
    assert (run.state, run.error) == (State.FAILED, full_sync.STOPPED)
