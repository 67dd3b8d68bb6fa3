"""A version's documents copied from the live one: in the background, bit by bit, and whole whatever happens."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.db.models import Count
from django.db.models.functions import Now
from django.utils import timezone

from core.jobs import CLAIMS_MAX
from core.states import State
from knowledge import copying, deleting, holders, services, sync_queue, tasks
from knowledge.models import Chunk, Document, SyncItem, VersionCopy
from tenants.models import Tenant
from tenants.services import create_tenant
from tests.sessions import in_own_session, somebody_waits_for_a_lock
from tests.workers import running_worker, wait_until

pytestmark = pytest.mark.django_db
URL = "https://acme.example/"


@pytest.fixture
def unsent(monkeypatch):
    """No message leaves."""
    monkeypatch.setattr("core.enqueue.publish", lambda *_args, **_options: True)


def begin(tenant):
    """Begin to copy the tenant's knowledge to a version beside it, and return the copy."""
    target = Tenant.objects.create(slug=f"{tenant.slug}--next", version_of=tenant, version="next", is_active=False)
    return services.begin_copy(source=tenant, target=target, is_whole=True)


def fill(tenant, documents, *, passages=1):
    """Store documents with passages that have vectors."""
    now = timezone.now()
    rows = [
        Document(tenant=tenant, url=f"{URL}{number:03}", content="x", fetched_at=now) for number in range(documents)
    ]
    Document.objects.bulk_create(rows)
    Chunk.objects.bulk_create(
        Chunk(tenant=tenant, document=row, chunk_index=number, content=f"{row.url} {number}", embedding=[1.0, 2.0],
              embedding_model="stand-in/1", search_vector="'word':1")
        for row in rows
        for number in range(passages)
    )  # fmt: skip


def held(tenant):
    """What the row holds: each URL with its text and its passages."""
    documents = Document.objects.filter(tenant=tenant).prefetch_related("chunks")
    return {
        document.url: (document.content, [(chunk.content, chunk.embedding_model) for chunk in document.chunks.all()])
        for document in documents
    }


def texts(tenant):
    return {url: text for url, (text, _passages) in held(tenant).items()}


def work(copy):
    return tasks.copy_version_task(copy_id=str(copy.pk))


def test_each_batch_is_bounded_in_documents_and_in_passages(tenant, unsent, embedder, monkeypatch):
    fill(tenant, 5, passages=3)
    monkeypatch.setattr(copying, "DOCUMENTS_MAX", 4)
    monkeypatch.setattr(copying, "PASSAGES_MAX", 7)
    copy = begin(tenant)
    assert len(copying._next_batch(copy)) == 2
    monkeypatch.setattr(copying, "PASSAGES_MAX", 1)
    assert len(copying._next_batch(copy)) == 1, "one goes in any case"
    monkeypatch.setattr(copying, "PASSAGES_MAX", 1000)
    assert len(copying._next_batch(copy)) == 4

    assert work(copy)
    assert held(copy.tenant) == held(tenant)


def test_while_others_wait_a_copy_goes_behind_them_after_each_batch_and_goes_on_where_it_was(
    tenant, embedder, monkeypatch, django_capture_on_commit_callbacks
):
    fill(tenant, 5)
    sent = []
    monkeypatch.setattr(copying, "DOCUMENTS_MAX", 2)
    monkeypatch.setattr("core.turns.Turn.is_over", lambda _turn: True)
    monkeypatch.setattr("core.enqueue.publish", lambda _task, kwargs, **options: sent.append((kwargs, options)) or True)
    with django_capture_on_commit_callbacks(execute=True):
        copy = begin(tenant)
    seen = []
    while sent:
        kwargs, options = sent.pop(0)
        assert options["tenant_id"] == tenant.pk
        tasks.copy_version_task(**kwargs)
        copy.refresh_from_db()
        seen.append((copy.done, copy.left, copy.state))

    assert seen[:2] == [(2, 3, State.QUEUED), (4, 1, State.QUEUED)]
    assert seen[-1] == (5, 0, State.DONE)
    assert not work(copy), "nobody takes it twice"


def test_a_copy_that_fails_is_tried_again_later_and_given_up_in_the_end(tenant, unsent, monkeypatch, settings):
    fill(tenant, 1)
    copy = begin(tenant)
    monkeypatch.setattr(copying, "_copy", lambda *_: {}["nothing"])
    for _attempt in range(settings.KNOWLEDGE_SYNC_MAX_ATTEMPTS):
        copy.refresh_from_db()
        assert copy.state == State.QUEUED
        with pytest.raises(KeyError):
            work(copy)
        VersionCopy.objects.update(not_before=Now())
    copy.refresh_from_db()

    assert (copy.state, copy.left, copy.error) == (State.FAILED, 1, "KeyError: 'nothing'")


def test_a_copy_that_killed_every_worker_is_closed_with_the_reason(tenant, unsent):
    fill(tenant, 1)
    copy = begin(tenant)
    died = {"state": State.RUNNING, "claims": CLAIMS_MAX, "lease_until": Now() - timedelta(seconds=1)}
    VersionCopy.objects.update(**died)
    tasks.sweep(limit=10)
    copy.refresh_from_db()

    assert (copy.state, copy.left) == (State.FAILED, 1)
    assert "died" in copy.error


def test_a_passage_gets_its_vector_once_for_all_versions_of_a_model(tenant, store, unsent, embedder):
    copy = begin(tenant)
    assert work(copy)
    store(tenant, URL, "The warranty is 24 months.")
    make_vectors()

    assert embedder.asked == ["\nThe warranty is 24 months."]
    assert Chunk.objects.with_vector("stand-in/1").count() == 2


def test_a_version_that_is_only_kept_gets_its_vectors_when_it_is_live_again(tenant, store, unsent, embedder):
    copy = begin(tenant)
    assert work(copy)
    Tenant.objects.filter(pk=copy.tenant_id).update(version=Tenant.Version.PREVIOUS)
    store(tenant, URL, "The warranty is 24 months.")
    make_vectors()
    assert Chunk.objects.filter(tenant=copy.tenant).without_vector("stand-in/1").count() == 1

    Tenant.objects.filter(pk=copy.tenant_id).update(version=Tenant.Version.NEXT)
    make_vectors()
    assert Chunk.objects.filter(tenant=copy.tenant).without_vector("stand-in/1").count() == 0


def make_vectors():
    SyncItem.objects.update(sent_at=None)
    while due := sync_queue.take_due(limit=10):
        for document_id in due:
            tasks.sync_embeddings_task(document_id=str(document_id))


@pytest.mark.django_db(transaction=True)
def test_after_changes_and_deletions_while_it_was_copied_both_hold_the_same(embedder, monkeypatch, unsent):
    tenant = create_tenant(slug="acme")
    fill(tenant, 60)
    monkeypatch.setattr(copying, "DOCUMENTS_MAX", 3)
    copy = begin(tenant)

    @in_own_session
    def sixty_times(work):
        for number in range(60):
            work(number)

    def store(number):
        page = {"title": "", "language": "en", "content": f"New {number}.", "fetched_at": timezone.now()}
        services.store_page(tenant=tenant, url=f"{URL}{59 - number:03}" if number % 2 else f"{URL}new/{number}", **page)

    def delete(number):
        if number % 3 == 0:
            services.remove_page(tenant=tenant, url=f"{URL}{number:03}")

    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(sixty_times, store), pool.submit(sixty_times, delete)]
        while not work(copy):
            pass
        for job in jobs:
            job.result()

    live = held(tenant)
    assert texts(copy.tenant) == texts(tenant)
    assert [len(passages) for _text, passages in held(copy.tenant).values()] == [1] * len(live)
    assert len(live) > 60


@pytest.mark.django_db(transaction=True)
def test_a_version_is_not_begun_in_the_middle_of_a_change():
    tenant = create_tenant(slug="acme")

    @in_own_session
    @transaction.atomic
    def wait():
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL lock_timeout = '200ms'")
        holders.wait_for_changes(tenant)

    with ThreadPoolExecutor(1) as pool, transaction.atomic():
        holders.of_change(tenant)
        with pytest.raises(Exception, match="lock timeout"):
            pool.submit(wait).result()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(wait).result()


@pytest.mark.parametrize("change", ["delete", "exclude"])
@pytest.mark.django_db(transaction=True)
def test_what_is_taken_away_while_it_is_being_copied_goes_from_both(change, embedder, unsent):
    tenant = create_tenant(slug="acme")
    fill(tenant, 3)
    copy, url = begin(tenant), f"{URL}001"
    document_id = Document.objects.get(tenant=tenant, url=url).pk

    @in_own_session
    def take_away():
        if change == "delete":
            services.remove_page(tenant=tenant, url=url)
        else:
            deleting.delete_embeddings(document_id)

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            copy = VersionCopy.objects.claim(copy.pk)
            assert copying._copy(copy, copying._next_batch(copy))
            job = pool.submit(take_away)
            wait_until(somebody_waits_for_a_lock, 20)
        job.result()

    for holder in (tenant, copy.tenant):
        assert url not in held(holder) if change == "delete" else held(holder)[url][1] == []


def test_a_real_worker_that_is_killed_in_the_middle_is_followed_by_another_that_copies_the_rest_once(
    transactional_db, redis_client
):
    tenant = create_tenant(slug="acme")
    fill(tenant, 2 * copying.DOCUMENTS_MAX + 50, passages=2)
    blocked = Document.objects.get(tenant=tenant, url=f"{URL}{copying.DOCUMENTS_MAX + 10:03}")
    env = {"EMBEDDING_MODEL": "stand-in/1", "EMBEDDING_BASE_URL": "http://127.0.0.1:9"}
    with running_worker(queues=("low_priority",), concurrency=1, env=env) as worker, transaction.atomic():
        Document.objects.select_for_update().get(pk=blocked.pk)  # the second batch waits for it
        with ThreadPoolExecutor(1) as pool:
            copy = pool.submit(in_own_session(begin), tenant).result()
        wait_until(lambda: VersionCopy.objects.get().done == copying.DOCUMENTS_MAX, 20, lambda: worker.log)
        worker.kill()
    assert Document.objects.filter(tenant=copy.tenant).count() == copying.DOCUMENTS_MAX
    VersionCopy.objects.update(lease_until=Now() - timedelta(seconds=1))

    with running_worker(queues=("low_priority",), concurrency=2, env=env) as worker:
        tasks.process_sync_queue()
        wait_until(lambda: VersionCopy.objects.get().state == State.DONE, 20, lambda: worker.log)

    assert VersionCopy.objects.get().done == copy.total
    assert {url: text for url, (text, _) in held(copy.tenant).items()} == {
        url: text for url, (text, _) in held(tenant).items()
    }
    counts = Chunk.objects.filter(tenant=copy.tenant).values("document").annotate(count=Count("pk"))
    assert {row["count"] for row in counts} == {2}
