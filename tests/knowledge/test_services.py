import threading
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.utils import timezone

from core.states import State
from knowledge import services
from knowledge.errors import PageInvalidError
from knowledge.models import Chunk, Document, SyncItem
from tenants.services import create_tenant
from tests.sessions import at_once, somebody_waits_for_a_lock
from tests.workers import wait_until

URL = "https://example.com/page"
LONG = "\n\n".join(
    f"## Part {n}\n\n" + f"Sentence about {name}. " * 40 for n, name in enumerate(["apples", "pears", "figs"])
)


def chunks(document: Document) -> list[Chunk]:
    return list(document.chunks.order_by("chunk_index"))


def test_a_stored_page_has_its_passages_in_order_with_words_at_once(store, tenant):
    document = store(tenant, URL, LONG, title="Fruit")

    assert [chunk.chunk_index for chunk in chunks(document)] == [0, 1, 2]
    assert [chunk.heading_path for chunk in chunks(document)] == ["Part 0", "Part 1", "Part 2"]
    assert {chunk.tenant_id for chunk in chunks(document)} == {tenant.pk}
    assert "'fruit':1A" in chunks(document)[0].search_vector
    assert Chunk.objects.extra(where=["search_vector @@ 'pear'::tsquery"]).count() == 1


def test_a_stored_page_is_queued_and_sent_after_the_commit(sent, tenant, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        document = services.store_page(
            tenant=tenant, url=URL, title="", language="en", content="text", fetched_at=timezone.now()
        )
        assert sent == []

    assert sent == [str(document.pk)]
    assert SyncItem.objects.get(document=document).state == State.QUEUED


def test_unchanged_content_only_moves_the_time(store, tenant, sent, django_assert_num_queries):
    document = store(tenant, URL, LONG)
    before = chunks(document)
    SyncItem.objects.update(state=State.DONE)
    sent.clear()

    later = timezone.now() + timedelta(hours=1)
    with django_assert_num_queries(6):  # begin, keep new versions out, which there are, find and lock, update, commit
        again = store(tenant, URL, LONG, at=later)

    assert (again.pk, again.fetched_at) == (document.pk, later)
    assert [chunk.pk for chunk in chunks(again)] == [chunk.pk for chunk in before]
    assert sent == []
    assert SyncItem.objects.get().state == State.DONE


def test_passages_that_stayed_the_same_keep_row_and_vector(store, tenant):
    document = store(tenant, URL, LONG)
    Chunk.objects.update(embedding=[1.0, 2.0], embedding_model="m")
    apples, pears, figs = chunks(document)

    store(tenant, URL, "## New\n\n" + "A new beginning. " * 50 + "\n\n" + LONG.replace("pears", "plums"))

    new, still_apples, plums, still_figs = chunks(document)
    assert (still_apples.pk, still_figs.pk) == (apples.pk, figs.pk)
    assert still_figs.embedding_model == "m"
    assert still_figs.embedding is not None
    assert {new.embedding_model, plums.embedding_model} == {""}
    assert not Chunk.objects.filter(pk=pears.pk).exists()


def test_a_new_title_reaches_the_words_of_kept_passages(store, tenant):
    document = store(tenant, URL, LONG, title="Old")
    store(tenant, URL, LONG, title="Orchard")

    assert all("'orchard':1A" in chunk.search_vector for chunk in chunks(document))


def test_the_text_fetched_last_wins_whatever_the_order(store, tenant):
    now = timezone.now()
    store(tenant, URL, "new text", at=now)
    document = store(tenant, URL, "old text", at=now - timedelta(minutes=5))

    document.refresh_from_db()
    assert (document.content, document.fetched_at) == ("new text", now)


def test_two_tenants_may_know_the_same_url(store, tenant, stranger):
    assert store(tenant, URL, "one").pk != store(stranger, URL, "two").pk
    assert [document.content for document in Document.objects.for_tenant(tenant)] == ["one"]


def test_what_postgres_cannot_store_is_left_out(store, tenant):
    document = store(tenant, URL, "a\x00b \ud800 c", title="t\x00\udfff")

    document.refresh_from_db()
    assert (document.title, document.content) == ("t", "ab  c")


@pytest.mark.parametrize("content", ["", "   ", "# \n\n"])
def test_an_empty_page_has_no_passages_and_breaks_nothing(store, tenant, content):
    assert chunks(store(tenant, URL, content)) in ([], chunks(Document.objects.get()))


@pytest.mark.parametrize("url", ["", "https://example.com/" + "ط" * 1000], ids=["empty", "long"])
def test_a_url_that_cannot_be_kept_is_refused(store, tenant, url):
    with pytest.raises(PageInvalidError):
        store(tenant, url, "text")


def test_remove_page_forgets_the_page_of_this_tenant_alone(store, tenant, stranger):
    store(tenant, URL, LONG)
    other = store(stranger, URL, LONG)

    assert services.remove_page(tenant=tenant, url=URL) is True
    assert services.remove_page(tenant=tenant, url=URL) is False
    assert {chunk.document_id for chunk in Chunk.objects.all()} == {other.pk}
    assert [item.document_id for item in SyncItem.objects.all()] == [other.pk]


def test_workers_storing_one_url_at_once_leave_one_document_with_one_texts_passages(transactional_db, sent):
    tenant = create_tenant(slug="acme")

    def work(number: int) -> None:
        for turn in range(5):
            services.store_page(
                tenant=tenant,
                url=URL,
                title="",
                language="en",
                content=LONG.replace("apples", f"apples{number}{turn}"),
                fetched_at=timezone.now(),
            )

    at_once(4, work)

    document = Document.objects.get()
    assert [chunk.chunk_index for chunk in chunks(document)] == [0, 1, 2]
    assert all(chunk.content in document.content for chunk in chunks(document))
    assert set(sent) == {str(document.pk)}


def test_older_text_that_waits_for_newer_text_does_not_replace_it(transactional_db, sent):
    tenant, now = create_tenant(slug="acme"), timezone.now()

    def store(content: str, minutes: int) -> None:
        services.store_page(
            tenant=tenant,
            url=URL,
            title="",
            language="en",
            content=content,
            fetched_at=now + timedelta(minutes=minutes),
        )

    def store_older() -> None:
        store("older", 1)
        connection.close()

    store("first", 0)
    older = threading.Thread(target=store_older)
    with transaction.atomic():
        store("newer", 2)
        older.start()
        wait_until(somebody_waits_for_a_lock, 20)
    older.join()

    assert Document.objects.get().content == "newer"
    assert Chunk.objects.get().content == "newer"
