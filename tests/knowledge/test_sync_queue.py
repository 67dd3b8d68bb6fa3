from datetime import timedelta
from itertools import chain

import pytest
from celery import current_app
from django.conf import settings as django_settings
from django.db.models.functions import Now
from kombu.exceptions import OperationalError

from core import turns
from core.states import State
from knowledge import sweeping, sync_queue, tasks
from knowledge.errors import EmbeddingUnavailableError
from knowledge.models import Chunk, SyncItem
from tenants.services import create_tenant
from tests.sessions import at_once

URL = "https://example.com/"


@pytest.fixture(autouse=True)
def roomy(settings):
    """Room for all: what a tenant's own window does shows only where it is the narrower one."""
    settings.KNOWLEDGE_SYNC_TASKS = 1000


def run(document) -> SyncItem:
    tasks.sync_embeddings_task(document_id=str(document.pk))
    return SyncItem.objects.get(document=document)


def make_due() -> None:
    SyncItem.objects.update(not_before=Now() - timedelta(seconds=1))


def test_the_task_makes_every_vector_and_closes_the_row(store, tenant, embedder):
    document = store(tenant, URL, "# Title\n\nSome text.", title="Page")

    item = run(document)

    assert (item.state, item.error, item.sent_at, item.lease_until) == (State.DONE, "", None, None)
    assert embedder.asked == ["Title\nSome text."]
    assert Chunk.objects.get().embedding_model == "stand-in/1"


def test_a_second_delivery_finds_nothing_to_do(store, tenant, embedder):
    document = store(tenant, URL, "text")
    run(document)
    embedder.asked.clear()

    assert run(document).attempts == 0
    assert embedder.asked == []


def test_only_one_of_two_workers_gets_the_row(store, tenant):
    document = store(tenant, URL, "text")

    assert SyncItem.objects.claim(document.pk) is not None
    assert SyncItem.objects.claim(document.pk) is None


def test_a_row_whose_lease_ran_out_may_be_claimed_again(store, tenant):
    document = store(tenant, URL, "text")
    SyncItem.objects.claim(document.pk)
    SyncItem.objects.update(lease_until=Now() - timedelta(seconds=1))

    assert SyncItem.objects.claim(document.pk).attempts == 2


def test_an_unknown_document_is_no_error(db, sent):
    tasks.sync_embeddings_task(document_id="00000000-0000-0000-0000-000000000000")


def test_newer_text_takes_the_claim_away_and_old_vectors_do_not_land_on_it(store, tenant, embedder, monkeypatch):
    document = store(tenant, URL, "old text")
    make = embedder.embed_passages

    def page_changes_meanwhile(texts, **model):
        store(tenant, URL, "new text")
        return make(texts, **model)

    monkeypatch.setattr("knowledge.embeddings.embed_passages", page_changes_meanwhile)
    assert run(document).state == State.QUEUED
    assert Chunk.objects.get().embedding is None

    monkeypatch.setattr("knowledge.embeddings.embed_passages", make)
    assert run(document).state == State.DONE
    assert embedder.asked[-1] == "\nnew text"


def test_identical_text_of_the_tenant_is_not_embedded_again(store, tenant, embedder):
    run(store(tenant, URL, "the same text"))
    second = store(tenant, URL + "copy", "the same text")
    embedder.asked.clear()

    assert run(second).state == State.DONE
    assert embedder.asked == []
    assert len(Chunk.objects.with_vector("stand-in/1")) == 2


def test_another_tenants_vector_is_never_taken(store, tenant, stranger, embedder):
    run(store(stranger, URL, "the same text"))
    embedder.asked.clear()

    run(store(tenant, URL, "the same text"))

    assert embedder.asked == ["\nthe same text"]


def test_a_tenant_keeps_its_model_until_a_full_sync_changes_it(store, tenant, embedder):
    run(store(tenant, URL, "text"))
    embedder.model, embedder.previous = "stand-in/2", {"stand-in/1"}

    run(store(tenant, URL + "new", "another text"))

    assert set(Chunk.objects.values_list("embedding_model", "next_embedding_model")) == {("stand-in/1", "")}


def test_where_the_tenants_model_is_nowhere_to_be_had_the_settings_models_vectors_wait_beside(store, tenant, embedder):
    document = store(tenant, URL, "text")
    run(document)
    embedder.model = "stand-in/2"
    SyncItem.objects.update(state=State.QUEUED)

    assert run(document).state == State.DONE

    assert Chunk.objects.get().embedding_model == "stand-in/1"
    assert Chunk.objects.get().next_embedding_model == "stand-in/2"
    assert len(embedder.asked) == 2


def test_a_long_document_is_done_in_slices_and_every_batch_stays(store, tenant, embedder, settings, sent):
    settings.KNOWLEDGE_SYNC_SLICE_SECONDS = 0
    document = store(tenant, URL, "\n\n".join(f"# H{n}\n\n" + f"word{n} " * 120 for n in range(20)))
    sent.clear()

    assert run(document).state == State.QUEUED
    assert sent == [str(document.pk)]
    assert len(Chunk.objects.with_vector("stand-in/1")) == 16

    assert run(document).state == State.DONE
    assert len(Chunk.objects.with_vector("stand-in/1")) == 20


def test_a_failure_is_tried_again_later_and_given_up_after_five(store, tenant, embedder):
    embedder.error = EmbeddingUnavailableError("The model is away.")
    document = store(tenant, URL, "text")

    delays = []
    for _attempt in range(5):
        item = run(document)
        delays.append(round((item.not_before - item.created_at).total_seconds(), -1))
        make_due()
        sync_queue.take_due(limit=10)

    assert (item.state, item.error) == (State.FAILED, "The model is away.")
    assert delays[:4] == [10, 40, 160, 640]
    assert run(document).attempts == 5


def test_progress_forgives_earlier_attempts(store, tenant, embedder, settings):
    settings.KNOWLEDGE_SYNC_SLICE_SECONDS = 0
    document = store(tenant, URL, "\n\n".join(f"# H{n}\n\n" + f"word{n} " * 120 for n in range(20)))
    SyncItem.objects.update(attempts=4)

    item = run(document)

    assert (item.state, item.attempts) == (State.QUEUED, 0)


def test_a_bug_closes_the_row_and_is_raised(store, tenant, embedder):
    embedder.error = ZeroDivisionError("oops")
    document = store(tenant, URL, "text")

    with pytest.raises(ZeroDivisionError):
        run(document)
    assert SyncItem.objects.get().error == "ZeroDivisionError: oops"
    assert SyncItem.objects.get().state == State.QUEUED


@pytest.mark.usefixtures("embedder")
def test_documents_of_all_tenants_leave_slots_to_the_crawl_and_the_lightest_tenant_comes_first(
    store, tenant, stranger, sent, settings
):
    settings.KNOWLEDGE_SYNC_TASKS = 2
    documents = [store(tenant, f"{URL}{n}", f"text {n}") for n in range(60)]
    theirs = [store(stranger, f"{URL}{n}", f"mine {n}") for n in range(3)]
    assert sent == [str(document.pk) for document in documents[:2]]

    run(documents[0])
    assert sent[2:] == [str(theirs[0].pk)]  # none of theirs was on the queue
    run(documents[1])
    assert sent[3:] == [str(documents[2].pk)]  # none of the other's
    run(theirs[0])
    assert sent[4:] == [str(theirs[1].pk)]


@pytest.mark.usefixtures("embedder")
def test_a_tenant_that_has_had_much_lately_neither_comes_first_nor_takes_up_the_room_of_others(
    store, tenant, stranger, sent, monkeypatch
):
    monkeypatch.setattr(django_settings, "KNOWLEDGE_SYNC_TASKS", 2)
    monkeypatch.setattr(turns, "levels", lambda: {str(tenant.pk): 9})
    documents = [store(tenant, f"{URL}{n}", f"text {n}") for n in range(4)]
    theirs = [store(stranger, f"{URL}{n}", f"mine {n}") for n in range(3)]
    assert sent == [str(document.pk) for document in [*documents[:2], *theirs[:2]]]

    run(documents[0])
    run(documents[1])
    assert sent[4:] == []
    run(theirs[0])
    assert sent[4:] == [str(theirs[2].pk)]
    run(theirs[1])
    assert sent[5:] == [str(documents[2].pk)]


def test_a_long_document_gives_its_slot_back_once_others_wait(store, tenant, embedder, sent, monkeypatch):
    monkeypatch.setattr(turns, "others_wait", lambda _level: True)
    monkeypatch.setattr(turns, "SHARED_SECONDS", 0)
    text = "\n\n".join(f"## Part {number}\n\n{'word ' * 180}{number}" for number in range(10))
    document = store(tenant, URL, text)
    run(document)

    assert document.chunks.exclude(embedding_model="").count() == sync_queue.SHARED_BATCH
    assert sent == [str(document.pk)] * 2  # the rest waits its turn


def test_a_tenant_has_only_a_window_on_the_queue_and_the_finisher_sends_the_next(store, tenant, embedder, sent):
    documents = [store(tenant, f"{URL}{n}", f"text {n}") for n in range(10)]
    assert sent == [str(document.pk) for document in documents[: django_settings.KNOWLEDGE_SYNC_WINDOW]]

    run(documents[0])

    assert sent[-1] == str(documents[4].pk)
    assert len(sent) == 5


def test_ten_thousand_pages_of_one_tenant_do_not_stand_before_anothers(store, tenant, stranger, embedder, sent):
    for n in range(50):
        store(tenant, f"{URL}{n}", f"text {n}")
    theirs = store(stranger, URL, "mine")

    assert sent.index(str(theirs.pk)) == django_settings.KNOWLEDGE_SYNC_WINDOW


def test_sweep_sends_what_has_room_and_respects_its_limit(store, tenant, stranger, sent, monkeypatch):
    for owner in (tenant, stranger):
        for n in range(6):
            store(owner, f"{URL}{n}", f"text {n}")
    SyncItem.objects.update(sent_at=None)
    sent.clear()
    monkeypatch.setattr(sweeping, "LIMIT", 6)

    assert sweeping.sweep() == 6
    assert sweeping.sweep() == 2
    assert sweeping.sweep() == 0
    assert len(set(sent)) == len(sent) == 8


def test_sweep_frees_the_job_of_a_dead_worker_and_closes_one_that_killed_three(store, tenant, stranger, sent):
    lost, deadly = store(tenant, URL, "text"), store(stranger, URL, "text")
    for document in (lost, deadly):
        SyncItem.objects.claim(document.pk)
    SyncItem.objects.update(lease_until=Now() - timedelta(seconds=1))
    SyncItem.objects.filter(document=deadly).update(claims=3)
    sent.clear()

    sweeping.sweep()

    assert sent == [str(lost.pk)]
    assert SyncItem.objects.get(document=lost).state == State.QUEUED
    closed = SyncItem.objects.get(document=deadly)
    assert (closed.state, closed.lease_until) == (State.FAILED, None)
    assert "died" in closed.error


def test_sweep_sends_a_lost_message_again_but_not_one_that_may_still_wait(store, tenant, sent, settings):
    document = store(tenant, URL, "text")
    sent.clear()
    sweeping.sweep()
    assert sent == []

    SyncItem.objects.update(sent_at=Now() - timedelta(seconds=settings.KNOWLEDGE_SYNC_RESEND_AFTER_SECONDS + 1))
    sweeping.sweep()
    assert sent == [str(document.pk)]


def test_a_job_is_not_sent_before_its_time(store, tenant, embedder, sent):
    embedder.error = EmbeddingUnavailableError("away")
    run(store(tenant, URL, "text"))
    sent.clear()

    assert tasks.process_sync_queue() == 0
    make_due()
    assert tasks.process_sync_queue() == 1


def test_an_unreachable_broker_loses_nothing_and_stops_no_crawl(store, tenant, monkeypatch):
    def refuse(**_kwargs: object) -> None:
        raise OperationalError("connection refused")

    monkeypatch.setattr(tasks.sync_embeddings_task, "apply_async", refuse)
    store(tenant, URL, "text")

    assert SyncItem.objects.get().sent_at is None


def test_two_sweepers_send_each_row_once(transactional_db, store, monkeypatch, settings):
    settings.KNOWLEDGE_SYNC_WINDOW = 100
    tenant = create_tenant(slug="acme")
    for n in range(60):
        store(tenant, f"{URL}{n}", f"text {n}")
    SyncItem.objects.update(sent_at=None)

    parts = at_once(4, lambda _number: [row for _turn in range(10) for row in sync_queue.take_due(limit=5)])
    taken = [*chain(*parts), *sync_queue.take_due(limit=100)]

    assert len(taken) == len(set(taken)) == 60


def test_a_slice_has_time_to_end_before_it_is_cut_off(settings):
    task = current_app.tasks["knowledge.sync_embeddings_task"]
    limit = task.time_limit or settings.CELERY_TASK_TIME_LIMIT

    assert settings.KNOWLEDGE_SYNC_SLICE_SECONDS < settings.CELERY_TASK_SOFT_TIME_LIMIT < limit
