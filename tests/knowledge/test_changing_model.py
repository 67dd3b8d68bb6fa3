"""A tenant changes to another embedding model and is found all along."""

from datetime import timedelta

from django.core.management import call_command
from django.db import connection
from django.db.models.functions import Now
from django.utils import timezone

from core.states import State
from knowledge import embeddings, full_sync, services, sync_report, tasks
from knowledge.models import Chunk, FullSync, SearchModel, Stage, SyncItem
from knowledge.search import search
from tasks_api.models import TaskRun, TaskState
from tenants.models import Tenant
from tenants.services import create_api_key, create_tenant
from tests.api_client import ApiClient
from tests.knowledge.full_syncs import begin, change_model, complete, models, step
from tests.workers import running_worker, wait_until

URL = "https://example.com/"
TEXT = "stone lagoon"
ANAGRAM = "notes galoon"  # the same letters, so the same vector; none of the words


def found(tenant: Tenant) -> bool:
    """Whether the known passage is found by its meaning alone."""
    return any(passage.content == TEXT and passage.cosine > 0.999 for passage in search(tenant=tenant, query=ANAGRAM))


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
