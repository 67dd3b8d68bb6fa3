import threading
import uuid
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.models.functions import Now
from django.utils import timezone

from core.states import State
from knowledge import embeddings, full_sync, services, sync_report, tasks
from knowledge.errors import EmbeddingRefusedError, EmbeddingUnavailableError
from knowledge.models import Chunk, FullSync, SearchModel, Stage, SyncItem
from knowledge.search import search
from tasks_api.models import TaskRun, TaskState
from tasks_api.revoking import revoke
from tenants.models import Tenant
from tenants.services import create_api_key, create_tenant
from tests.api_client import ApiClient
from tests.knowledge.embedding_server import running_server
from tests.workers import running_worker, wait_until

URL = "https://example.com/"
TEXT = "stone lagoon"
ANAGRAM = "notes galoon"  # the same letters, so the same vector; none of the words


@pytest.fixture
def bells(monkeypatch):
    """The full syncs for which a message left, in order."""
    ids: list[str] = []
    monkeypatch.setattr(
        tasks.trigger_full_sync_task, "apply_async", lambda *, kwargs, **_options: ids.append(kwargs["full_sync_id"])
    )
    return ids


@pytest.fixture
def server(settings):
    with running_server() as server:
        settings.EMBEDDING_BASE_URL = settings.EMBEDDING_PREVIOUS_BASE_URL = server.url
        settings.EMBEDDING_MODEL = "served/a"
        settings.KNOWLEDGE_FULL_SYNC_GRACE_SECONDS = 0
        yield server


def change_model(settings) -> None:
    settings.EMBEDDING_MODEL, settings.EMBEDDING_PREVIOUS_MODEL = "served/b", "served/a"


@pytest.fixture
def learn(store, bells):
    """Store pages and have their vectors made."""

    def learn(tenant: Tenant, *texts: str, at: str = "") -> list[object]:
        documents = [store(tenant, f"{URL}{at}{number}", text) for number, text in enumerate(texts)]
        for document in documents:
            tasks.sync_embeddings_task(document_id=str(document.pk))
        return documents

    return learn


def begin(tenant: Tenant, **options: int) -> FullSync:
    return services.start_full_sync(tenant=tenant, **options)


def step(run: FullSync) -> FullSync:
    """Deliver one message of the run, as soon as it is due."""
    FullSync.objects.filter(pk=run.pk).update(not_before=Now() - timedelta(seconds=1))
    tasks.trigger_full_sync_task(full_sync_id=str(run.pk))
    return FullSync.objects.get(pk=run.pk)


def complete(run: FullSync) -> FullSync:
    for _message in range(100):
        run = step(run)
        if run.state not in (State.QUEUED, State.RUNNING):
            return run
    raise AssertionError(f"not over: {run}")


def found(tenant: Tenant) -> bool:
    """Whether the known passage is found by its meaning alone."""
    return any(passage.content == TEXT and passage.cosine > 0.999 for passage in search(tenant=tenant, query=ANAGRAM))


def models() -> set[tuple[str, str]]:
    return set(Chunk.objects.values_list("embedding_model", "next_embedding_model"))


def test_a_model_of_another_dimension_takes_over_and_the_passage_is_found_all_along(server, settings, learn, tenant):
    learn(tenant, TEXT, *(f"page number {number}" for number in range(40)))
    change_model(settings)
    assert found(tenant)
    run = begin(tenant, batch_size=16)
    assert (run.total, run.model, run.previous_model) == (41, "served/b", "served/a")

    stages = []
    while run.state in (State.QUEUED, State.RUNNING):
        run = step(run)
        stages.append((run.stage, run.done))
        assert found(tenant), stages
        assert sync_report.report(tenant).embedded == 41

    assert stages[:2] == [("embedding", 16), ("embedding", 32)]
    assert (run.state, run.done, run.failed, run.error) == (State.DONE, 41, 0, "")
    assert run.switched_at <= run.finished_at
    assert models() == {("served/b", "")}
    assert {len(vector) for vector in Chunk.objects.values_list("embedding", flat=True)} == {12}
    assert SearchModel.objects.get().model == "served/b"
    assert server.count("served/b") >= 41
    server.models.pop("served/a")  # the old one is not needed any more
    assert found(tenant)


def test_the_passage_is_found_in_each_moment_of_the_move(server, settings, learn, tenant, monkeypatch):
    learn(tenant, *(f"page number {number}" for number in range(9)), TEXT)  # moved last
    change_model(settings)
    monkeypatch.setattr(full_sync, "MOVE_BATCH", 1)
    run = begin(tenant)
    while run.stage == Stage.EMBEDDING:
        run = step(run)
    FullSync.objects.update(not_before=Now() - timedelta(seconds=1))
    run = FullSync.objects.claim(run.pk)

    places = []
    for _row in range(11):
        full_sync._move_batch(run, full_sync._MOVE)
        places.append(Chunk.objects.filter(next_embedding_model="served/b").count())
        assert found(tenant)

    assert places == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0]


def test_pages_stored_while_the_model_changes_are_found_before_and_after_the_switch(server, settings, learn, tenant):
    learn(tenant, *(f"page number {number}" for number in range(5)))
    change_model(settings)
    run = begin(tenant, batch_size=1)
    run = step(run)

    learn(tenant, TEXT, at="new")

    assert found(tenant)
    assert Chunk.objects.filter(embedding_model="served/a", next_embedding_model="served/b").count() == 2
    assert complete(run).state == State.DONE
    assert found(tenant)
    assert models() == {("served/b", "")}


def test_a_page_whose_old_vector_came_in_behind_the_walk_is_caught_before_the_switch(server, settings, learn, tenant):
    learn(tenant, "one", "two")
    change_model(settings)
    run = begin(tenant)
    _documents = learn(tenant, TEXT, at="late")
    late = Chunk.objects.get(content=TEXT)
    Chunk.objects.filter(pk=late.pk).update(next_embedding=None, next_embedding_model="")
    FullSync.objects.update(cursor=late.pk)

    run = step(run)

    assert (run.stage, run.cursor) == (Stage.EMBEDDING, 0)
    assert SearchModel.objects.get().model == "served/a"
    assert complete(run).state == State.DONE
    assert found(tenant)


def test_a_worker_with_an_old_vector_in_hand_does_not_put_it_down_after_the_switch(
    server, settings, learn, tenant, monkeypatch
):
    document = learn(tenant, TEXT, "one")[0]
    Chunk.objects.filter(document=document).update(embedding=None, embedding_model="")
    SyncItem.objects.filter(document=document).update(state=State.QUEUED)
    change_model(settings)
    make = embeddings.embed_passages

    def switch_meanwhile(texts, **options):
        vectors = make(texts, **options)
        monkeypatch.setattr(embeddings, "embed_passages", make)
        assert complete(begin(tenant)).state == State.DONE
        return vectors

    monkeypatch.setattr(embeddings, "embed_passages", switch_meanwhile)
    tasks.sync_embeddings_task(document_id=str(document.pk))

    assert models() == {("served/b", "")}
    assert SyncItem.objects.get(document=document).state == State.QUEUED
    tasks.sync_embeddings_task(document_id=str(document.pk))
    assert found(tenant)


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
    start = threading.Barrier(4)
    given: list[uuid.UUID] = []

    def ask() -> None:
        start.wait()
        given.append(begin(tenant).pk)
        connection.close()

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(given) == 4
    assert len(set(given)) == 1


def test_without_a_change_of_the_model_every_vector_is_made_again_in_its_place(learn, tenant, embedder):
    learn(tenant, *(f"page number {number}" for number in range(20)))
    embedder.asked.clear()

    run = complete(begin(tenant, batch_size=7))

    assert len(embedder.asked) == 20
    assert (run.total, run.done, run.state) == (20, 20, State.DONE)
    assert models() == {("stand-in/1", "")}
    assert complete(begin(tenant)).pk != run.pk  # once over, it may be asked for again


def test_one_passage_that_the_new_model_refuses_is_found_by_words_and_its_document_says_why(
    server, settings, learn, tenant, store
):
    learn(tenant, TEXT, "unspeakable words", *(f"page number {number}" for number in range(20)))
    change_model(settings)
    server.refuses = "unspeakable"

    run = complete(begin(tenant))

    assert (run.state, run.failed) == (State.DONE, 1)
    assert found(tenant)
    assert search(tenant=tenant, query="unspeakable")[0].cosine is None
    item = SyncItem.objects.get(document__chunks__content="unspeakable words")
    assert item.state == State.QUEUED
    tasks.sync_embeddings_task(document_id=str(item.document_id))
    item.refresh_from_db()
    assert "HTTP 400" in item.error


def test_a_model_that_refuses_several_passages_does_not_take_over(server, settings, learn, tenant):
    learn(tenant, TEXT, "unspeakable words", "unspeakable things")
    change_model(settings)
    server.refuses = "unspeakable"

    run = complete(begin(tenant))

    assert (run.state, run.failed) == (State.FAILED, 2)
    assert "2 passages" in run.error
    assert SearchModel.objects.get().model == "served/a"
    assert found(tenant)


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


def test_a_third_model_overtakes_a_run_that_has_not_switched(learn, tenant, embedder):
    learn(tenant, *(f"page number {number}" for number in range(20)))
    embedder.model, embedder.previous = "stand-in/2", {"stand-in/1"}
    second = step(begin(tenant, batch_size=16))
    embedder.model = "stand-in/3"

    third = complete(begin(tenant))

    second.refresh_from_db()
    assert (second.state, second.error) == (State.FAILED, full_sync.OVERTAKEN)
    assert third.state == State.DONE
    assert models() == {("stand-in/3", "")}


def test_a_run_that_has_switched_is_finished_before_another_begins(learn, tenant, embedder):
    learn(tenant, "text")
    embedder.model, embedder.previous = "stand-in/2", {"stand-in/1"}
    run = begin(tenant)
    while run.stage == Stage.EMBEDDING:
        run = step(run)
    embedder.model, embedder.previous = "stand-in/3", {"stand-in/2"}

    assert begin(tenant).pk == run.pk
    assert complete(run).state == State.DONE
    assert begin(tenant).model == "stand-in/3"


def test_searches_that_began_before_the_switch_have_time_to_end(learn, tenant, embedder, settings):
    learn(tenant, "text")
    embedder.model, embedder.previous = "stand-in/2", {"stand-in/1"}

    run = step(begin(tenant))

    assert run.stage == Stage.MOVING
    wait = (run.not_before - run.switched_at).total_seconds()
    assert wait == settings.KNOWLEDGE_FULL_SYNC_GRACE_SECONDS > settings.EMBEDDING_QUERY_TIMEOUT_SECONDS
    assert tasks.trigger_full_sync_task(full_sync_id=str(run.pk)) is False
    assert models() == {("stand-in/1", "stand-in/2")}


def test_another_tenant_is_neither_switched_nor_touched(learn, tenant, stranger, embedder):
    learn(stranger, "their text")
    learn(tenant, "text")
    embedder.model, embedder.previous = "stand-in/2", {"stand-in/1"}

    complete(begin(tenant))

    assert SearchModel.objects.get(tenant=stranger).model == "stand-in/1"
    assert Chunk.objects.get(tenant=stranger).embedding_model == "stand-in/1"
    assert search(tenant=stranger, query="xttr")[0].cosine is not None


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


def test_the_doctor_names_the_tenants_that_a_changed_setting_left_behind(learn, tenant, stranger, embedder):
    learn(tenant, "text")
    learn(stranger, "text")
    assert sync_report.tenants_behind() == ([], [])
    SearchModel.objects.filter(tenant=stranger).update(model="stand-in/0")
    embedder.model, embedder.previous = "stand-in/2", {"stand-in/1"}

    assert sync_report.tenants_behind() == (["acme"], ["stranger"])


def test_the_migration_settles_each_tenant_on_the_model_that_made_most_of_its_vectors(transactional_db):
    tenant = create_tenant(slug="acme")
    page = {"title": "", "language": "en", "fetched_at": timezone.now()}
    for number in range(3):
        services.store_page(tenant=tenant, url=f"{URL}{number}", content=f"page number {number}", **page)
    call_command("migrate", "knowledge", "0007", verbosity=0)
    try:
        with connection.cursor() as cursor:
            cursor.execute("UPDATE tenant_knowledge SET embedding = '[1,2]', embedding_model = 'many'")
            cursor.execute("UPDATE tenant_knowledge SET embedding_model = 'few' WHERE content = 'page number 0'")
    finally:
        call_command("migrate", verbosity=0)

    assert SearchModel.objects.get(tenant=tenant).model == "many"


def test_a_real_worker_that_is_killed_mid_way_is_followed_by_another_and_one_task_tells_of_it_all(
    transactional_db, server, settings, redis_client
):
    """Over HTTP, through Redis, with two processes; the first dies with a batch in its hands."""
    tenant = create_tenant(slug="acme")
    key = ApiClient(create_api_key(tenant=tenant, name="server")[1])
    texts = [TEXT, *(f"page number {number}" for number in range(39))]
    for number, text in enumerate(texts):
        services.store_page(
            tenant=tenant, url=f"{URL}{number}", title="", language="en", content=text, fetched_at=timezone.now()
        )
    while SyncItem.objects.exclude(state=State.DONE).exists():
        for item in SyncItem.objects.exclude(state=State.DONE):
            tasks.sync_embeddings_task(document_id=str(item.document_id))
    redis_client.flushdb()  # the messages of the above
    change_model(settings)
    env = {
        "EMBEDDING_BASE_URL": server.url,
        "EMBEDDING_MODEL": "served/b",
        "EMBEDDING_PREVIOUS_BASE_URL": server.url,
        "EMBEDDING_PREVIOUS_MODEL": "served/a",
    }
    server.flowing.clear()
    server.asked.clear()

    answer = key.post("sync/trigger-full-sync", {"batch_size": 16})
    task_id = answer.json()["task_id"]
    assert answer.status_code == 202
    with running_worker(queues=("low_priority",), concurrency=1, env=env) as worker:
        wait_until(lambda: server.asked)
        worker.kill()
    server.flowing.set()
    assert found(tenant)
    FullSync.objects.update(lease_until=Now() - timedelta(seconds=1))
    with running_worker(queues=("low_priority",), concurrency=2, env=env) as worker:
        tasks.process_sync_queue()
        wait_until(lambda: FullSync.objects.get().stage == Stage.MOVING, 30, lambda: worker.log)
        assert found(tenant)
        FullSync.objects.update(not_before=Now())
        wait_until(
            lambda: tasks.send_full_syncs() or FullSync.objects.get().state == State.DONE, 30, lambda: worker.log
        )
        wait_until(lambda: key.get(f"tasks/status/{task_id}").json()["state"] == TaskState.DONE, 10)

    assert str(FullSync.objects.get().pk) == task_id
    assert TaskRun.objects.get(pk=task_id).attempts >= 4  # killed, and three slices
    assert models() == {("served/b", "")}
    assert found(tenant)
