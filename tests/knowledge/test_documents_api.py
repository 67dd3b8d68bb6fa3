"""Documents and search over HTTP."""

import uuid

import pytest

from core.states import State
from crawl.models import Page
from crawl.services import add_website
from knowledge import tasks
from knowledge.errors import EmbeddingUnavailableError
from knowledge.models import Chunk, Document, SearchModel, SyncItem
from tenants.services import create_api_key
from tests.api_client import ApiClient, ids, pointers

pytestmark = pytest.mark.django_db
URL = "https://acme.example/docs/"


@pytest.fixture
def caller(tenant):
    return ApiClient(create_api_key(tenant=tenant, name="server")[1])


@pytest.fixture
def document(store, tenant):
    return store(tenant, URL + "install", "# Install\n\nRun the installer.\n\n# Remove\n\nDelete it.", title="Install")


def test_a_document_is_shown_with_text_chunks_and_the_state_of_its_vectors(caller, document, embedder):
    path = f"documents/{document.pk}"

    before = caller.get(path).json()
    tasks.sync_embeddings_task(document_id=str(document.pk))
    after = caller.get(path).json()

    assert (before["content"], before["title"]) == (document.content, "Install")
    assert (before["chunk_count"], before["embedded_count"], before["vector_state"]) == (1, 0, "queued")
    assert (after["embedded_count"], after["vector_state"], after["sync_error"]) == (1, "ready", "")


def test_a_document_whose_vectors_failed_says_why(caller, document, embedder):
    SyncItem.objects.update(state=State.FAILED, error="The model refuses the call.")

    body = caller.get(f"documents/{document.pk}").json()

    assert (body["vector_state"], body["sync_error"]) == ("failed", "The model refuses the call.")


def test_vectors_of_another_model_do_not_count(caller, document, embedder):
    tasks.sync_embeddings_task(document_id=str(document.pk))
    SearchModel.objects.update(model="stand-in/2")

    body = caller.get(f"documents/{document.pk}").json()

    assert (body["embedded_count"], body["vector_state"]) == (0, "missing")


def test_documents_are_found_by_website_url_and_beginning(caller, tenant, store, document):
    persian = store(tenant, "https://acme.example/%D8%B1%D8%A7%D9%87", "متن", title="راهنمای نصب")
    website = add_website(tenant=tenant, url=URL)
    for url in (document.url, URL + "copy"):  # a second page that led to it must not repeat it
        Page.objects.create(tenant=tenant, website=website, url=url, state="done", document=document)

    assert ids(caller.get("documents")) == [str(persian.pk), str(document.pk)]
    assert ids(caller.get("documents", website=website.pk)) == [str(document.pk)]
    assert ids(caller.get("documents", website=uuid.uuid4())) == []
    assert ids(caller.get("documents", url=document.url)) == [str(document.pk)]
    assert ids(caller.get("documents", url="https://acme.example/راه")) == [str(persian.pk)]
    assert ids(caller.get("documents", q="inst")) == [str(document.pk)]
    assert ids(caller.get("documents", q="راهنما")) == [str(persian.pk)]
    assert ids(caller.get("documents", q="https://acme.example/راه")) == [str(persian.pk)]
    assert ids(caller.get("documents", q="https://acme.example/d", website=website.pk)) == [str(document.pk)]
    assert ids(caller.get("documents", q="%")) == []  # no wildcard


def test_another_tenants_website_as_a_filter_finds_nothing(caller, stranger, store):
    theirs = add_website(tenant=stranger, url=URL)
    document = store(stranger, URL, "Text.")
    Page.objects.create(tenant=stranger, website=theirs, url=URL, state="done", document=document)

    assert ids(caller.get("documents", website=theirs.pk)) == []
    assert ids(caller.get("documents", url=URL)) == []


@pytest.mark.parametrize(
    ("params", "field"),
    [({"website": "1"}, "/website"), ({"q": "a\0"}, "/q"), ({"q": ""}, "/q"), ({"url": "x" * 2001}, "/url")],
)
def test_a_filter_that_cannot_be_is_named(caller, params, field):
    response = caller.get("documents", **params)

    assert (response.status_code, pointers(response)) == (400, [field])


def test_the_list_takes_two_queries_and_reads_no_texts(caller, tenant, store, django_assert_num_queries):
    for number in range(10):
        store(tenant, f"{URL}{number}", f"Text number {number}.")

    with django_assert_num_queries(2) as queries:  # the key with its tenant; the documents with counts and sync item
        response = caller.get("documents")

    assert {row["chunk_count"] for row in response.json()["data"]} == {1}
    assert '"knowledge_document"."content",' not in queries.captured_queries[1]["sql"]


def test_a_deleted_document_is_gone_with_its_chunks(caller, tenant, store, document):
    other = store(tenant, URL + "other", "Other text.")

    assert caller.delete(f"documents/{document.pk}").status_code == 204

    assert caller.get(f"documents/{document.pk}").status_code == 404
    assert list(Document.objects.all()) == [other]
    assert set(Chunk.objects.values_list("document", flat=True)) == {other.pk}


def test_a_search_returns_passages_with_what_ranked_them(caller, stranger, store, document, embedder):
    tasks.sync_embeddings_task(document_id=str(document.pk))
    store(stranger, URL, "Run the installer of the stranger.")

    response = caller.post("search", {"query": "run the installer", "limit": 1})

    (passage,) = response.json()["passages"]
    assert response.status_code == 200
    assert (passage["document_id"], passage["heading_path"]) == (str(document.pk), "Install")
    assert 0 < passage["cosine"] <= 1.0001
    assert passage["coverage"] == pytest.approx(1.0)
    assert passage["score"] > 0


def test_a_search_works_by_words_alone_while_the_model_fails(caller, document, embedder):
    embedder.error = EmbeddingUnavailableError("away")

    (passage, *_rest) = caller.post("search", {"query": "installer"}).json()["passages"]

    assert passage["cosine"] is None


def test_a_search_in_nothing_finds_nothing(caller):
    assert caller.post("search", {"query": "سلام"}).json() == {"passages": []}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "/query"),
        ({"query": " "}, "/query"),
        ({"query": "x" * 2001}, "/query"),
        ({"query": "a\u0000"}, "/query"),
        ({"query": ["a"]}, "/query"),
        ({"query": "a", "limit": 0}, "/limit"),
        ({"query": "a", "limit": 51}, "/limit"),
    ],
)
def test_a_search_that_cannot_be_names_the_field(caller, body, field):
    response = caller.post("search", body)

    assert (response.status_code, pointers(response)) == (400, [field])
