"""Syncing over HTTP and on the command line, and deleting a document's passages."""

import json
import uuid
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.db.models.functions import Now
from kombu.exceptions import OperationalError

from core.states import State
from knowledge import services, tasks
from knowledge.models import Chunk, Document, EmbeddingDeletion, FullSync, SearchModel, SyncItem
from knowledge.search import search
from tenants.services import create_api_key, create_operator_key
from tests.api_client import ApiClient, pointers

pytestmark = pytest.mark.django_db
URL = "https://acme.example/docs/"


@pytest.fixture
def caller(tenant):
    return ApiClient(create_api_key(tenant=tenant, name="server")[1])


@pytest.fixture(autouse=True)
def bells(monkeypatch):
    """What left for the workers: name, arguments and task id."""
    left: list[tuple[str, dict, str]] = []
    for task in (tasks.trigger_full_sync_task, tasks.delete_document_embeddings_task):

        def note(*, kwargs, task_id, name=task.name, **_options):
            left.append((name, kwargs, str(task_id)))

        monkeypatch.setattr(task, "apply_async", note)
    return left


@pytest.fixture
def document(store, tenant, embedder):
    document = store(tenant, URL, "# Opening hours\n\nClosed on Friday.", title="Hours")
    tasks.sync_embeddings_task(document_id=str(document.pk))
    return document


def deliver(document: Document, task_id: str) -> int:
    """Run the task as a worker does that got the message."""
    return tasks.delete_document_embeddings_task.apply(kwargs={"document_id": str(document.pk)}, task_id=task_id).get()


def command(*arguments: object, capsys) -> object:
    call_command("sync", *map(str, arguments), "--json")
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("path", ["sync/trigger-full-sync", "sync/trigger-full-sync/"])
def test_trigger_full_sync_answers_with_the_tasks_id(caller, document, bells, django_capture_on_commit_callbacks, path):
    with django_capture_on_commit_callbacks(execute=True):
        response = caller.post(path)

    run = FullSync.objects.get()
    assert (response.status_code, response.json()) == (202, {"task_id": str(run.pk)})
    assert bells == [("knowledge.trigger_full_sync_task", {"full_sync_id": str(run.pk)}, str(run.pk))]
    assert (run.batch_size, run.total) == (100, 1)


def test_trigger_full_sync_twice_is_one_run(caller, document):
    first = caller.post("sync/trigger-full-sync", {"batch_size": 5}).json()

    assert caller.post("sync/trigger-full-sync").json() == first
    assert FullSync.objects.get().batch_size == 5


@pytest.mark.parametrize("size", [0, -1, 1001, "many", None])
def test_a_batch_size_that_cannot_be_is_named(caller, size):
    response = caller.post("sync/trigger-full-sync", {"batch_size": size})

    assert (response.status_code, pointers(response)) == (400, ["/batch_size"])
    assert not FullSync.objects.exists()


def test_an_operator_starts_it_for_every_tenant(document, bells):
    operator = ApiClient(create_operator_key(name="platform")[1])

    response = operator.post("sync/trigger-full-sync", {"batch_size": 7})

    task_id = response.json()["task_id"]
    assert response.status_code == 202
    assert bells == [("knowledge.trigger_full_sync_task", {"batch_size": 7}, task_id)]


def test_an_operator_is_told_when_the_broker_is_away(monkeypatch):
    def refuse(**_kwargs: object) -> None:
        raise OperationalError("connection refused")

    monkeypatch.setattr(tasks.trigger_full_sync_task, "apply_async", refuse)

    response = ApiClient(create_operator_key(name="platform")[1]).post("sync/trigger-full-sync")

    assert (response.status_code, response.json()["code"]) == (503, "broker_unavailable")


@pytest.mark.parametrize("slash", ["", "/"])
def test_deleting_a_documents_embeddings_makes_it_unfindable_and_keeps_its_row(caller, tenant, document, slash):
    response = caller.delete(f"sync/document/{document.pk}{slash}")
    task_id = response.json()["task_id"]
    assert response.status_code == 202

    assert deliver(document, task_id) == 1

    assert search(tenant=tenant, query="closed on Friday") == []
    assert not Chunk.objects.exists()
    document.refresh_from_db()
    assert document.excluded_at is not None
    assert "Friday" in document.content
    deletion = EmbeddingDeletion.objects.get(pk=task_id)
    assert (deletion.state, deletion.chunk_count, deletion.url) == (State.DONE, 1, URL)


def test_the_message_of_a_deletion_leaves_after_the_commit(caller, document, bells, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        task_id = caller.delete(f"sync/document/{document.pk}").json()["task_id"]

    assert bells == [("knowledge.delete_document_embeddings_task", {"document_id": str(document.pk)}, task_id)]


def test_deleting_twice_changes_nothing_more(caller, document):
    first = caller.delete(f"sync/document/{document.pk}").json()
    assert caller.delete(f"sync/document/{document.pk}").json() == first

    assert [deliver(document, first["task_id"]) for _delivery in range(2)] == [1, 0]

    assert EmbeddingDeletion.objects.get().chunk_count == 1


def test_the_task_called_by_its_name_leaves_a_row_too(document):
    tasks.delete_document_embeddings_task(document_id=str(document.pk))

    assert EmbeddingDeletion.objects.get().state == State.DONE
    assert tasks.delete_document_embeddings_task(document_id=str(uuid.uuid4())) is None


def test_neither_a_crawl_nor_a_full_sync_brings_deleted_passages_back(tenant, store, document):
    tasks.delete_document_embeddings_task(document_id=str(document.pk))

    store(tenant, URL, "# Opening hours\n\nClosed on Monday.", title="Hours")
    services.start_full_sync(tenant=tenant)
    tasks.trigger_full_sync_task(full_sync_id=str(FullSync.objects.get().pk))

    assert not Chunk.objects.exists()
    assert "Monday" in Document.objects.get().content  # kept up to date, for a resync


def test_a_worker_at_the_documents_vectors_does_not_bring_them_back(store, tenant, embedder, monkeypatch):
    document = store(tenant, URL, "text")
    make = embedder.embed_passages

    def delete_meanwhile(texts, **options):
        tasks.delete_document_embeddings_task(document_id=str(document.pk))
        return make(texts, **options)

    monkeypatch.setattr("knowledge.embeddings.embed_passages", delete_meanwhile)
    tasks.sync_embeddings_task(document_id=str(document.pk))

    assert not Chunk.objects.exists()
    assert not SyncItem.objects.exists()


def test_a_resync_by_hand_brings_the_latest_text_back(caller, tenant, store, document):
    tasks.delete_document_embeddings_task(document_id=str(document.pk))
    store(tenant, URL, "# Opening hours\n\nClosed on Monday.", title="Hours")

    response = caller.post(f"sync/document/{document.pk}")

    assert (response.status_code, response.json()) == (202, {"document_id": str(document.pk), "state": "queued"})
    assert search(tenant=tenant, query="closed Monday")[0].cosine is None  # by words at once
    tasks.sync_embeddings_task(document_id=str(document.pk))
    assert search(tenant=tenant, query="closed Monday")[0].cosine is not None


def test_a_resync_takes_a_deletion_back_that_has_not_begun(caller, tenant, document):
    task_id = caller.delete(f"sync/document/{document.pk}").json()["task_id"]
    caller.post(f"sync/document/{document.pk}")

    assert deliver(document, task_id) == 0

    assert Chunk.objects.count() == 1
    assert EmbeddingDeletion.objects.get().state == State.FAILED


def test_a_deletions_message_that_comes_again_after_a_resync_deletes_nothing(caller, document):
    task_id = caller.delete(f"sync/document/{document.pk}").json()["task_id"]
    deliver(document, task_id)
    caller.post(f"sync/document/{document.pk}")

    assert deliver(document, task_id) == 0

    assert Chunk.objects.count() == 1


def test_a_lost_deletion_is_sent_again_under_its_id(caller, document, bells, settings):
    task_id = caller.delete(f"sync/document/{document.pk}").json()["task_id"]
    bells.clear()
    tasks.process_sync_queue()
    assert bells == []

    EmbeddingDeletion.objects.update(
        sent_at=Now() - timedelta(seconds=settings.KNOWLEDGE_SYNC_RESEND_AFTER_SECONDS + 1)
    )
    tasks.process_sync_queue()

    assert [left[2] for left in bells] == [task_id]


@pytest.mark.parametrize("method", ["post", "delete"])
def test_another_tenants_document_is_not_there(caller, stranger, store, method, embedder):
    theirs = store(stranger, URL, "text")

    assert getattr(caller, method)(f"sync/document/{theirs.pk}").status_code == 404
    assert not EmbeddingDeletion.objects.exists()


def test_status_tells_models_counts_and_the_last_full_sync(caller, tenant, document, embedder):
    embedder.model = "stand-in/2"
    services.start_full_sync(tenant=tenant)

    body = caller.get("sync/status").json()

    assert (body["search_model"], body["settings_model"], body["is_model_known"]) == ("stand-in/1", "stand-in/2", False)
    assert (body["documents"], body["chunks"], body["embedded"], body["failed"]) == (1, 1, 1, 0)
    assert (body["full_sync"]["state"], body["full_sync"]["model"], body["full_sync"]["total"]) == (
        "queued",
        "stand-in/2",
        1,
    )


def test_the_command_starts_a_full_sync_and_shows_it(tenant, document, capsys):
    started = command("full", "--tenant", "acme", "--batch-size", 20, capsys=capsys)
    shown = command("status", "--tenant", "acme", capsys=capsys)

    assert started == {"task_id": str(FullSync.objects.get().pk), "model": "stand-in/1", "total": 1}
    assert shown[0]["full_sync"]["task_id"] == started["task_id"]
    assert shown[0]["tenant"] == "acme"


def test_the_command_without_an_action_shows_every_tenant_as_text(tenant, stranger, document, capsys):
    SearchModel.objects.update(model="stand-in/0")

    with pytest.raises(SystemExit) as ended:
        call_command("sync")

    out = capsys.readouterr().out
    assert ended.value.code == 1
    assert "acme: " in out
    assert "stranger: " in out
    assert "manage.py sync full" in out


def test_the_commands_exit_status_tells_of_dead_letters_until_they_are_queued_again(tenant, document, capsys):
    SyncItem.objects.update(state=State.FAILED, error="away")
    with pytest.raises(SystemExit) as ended:
        call_command("sync", "status", "--tenant", "acme")
    assert ended.value.code == 1

    assert command("retry-failed", "--tenant", "acme", capsys=capsys.readouterr() and capsys) == {
        "documents": 1,
        "full_syncs": 0,
    }
    command("status", "--tenant", "acme", capsys=capsys)


def test_the_command_resyncs_and_deletes_a_document(tenant, document, capsys):
    assert command("document", document.pk, capsys=capsys)["state"] == "queued"
    assert command("document", document.pk, "--delete", capsys=capsys)["task_id"]

    assert EmbeddingDeletion.objects.get().document == document


@pytest.mark.parametrize(
    "arguments",
    [["full", "--tenant", "nobody"], ["document"], ["document", str(uuid.uuid4())], ["full", "--batch-size", "0"]],
)
def test_the_command_refuses_what_is_not_there(tenant, arguments):
    with pytest.raises(CommandError) as refused:
        call_command("sync", *arguments)

    assert refused.value.returncode == 2


def test_the_command_does_not_reach_into_another_tenant(tenant, stranger, document):
    with pytest.raises(CommandError):
        call_command("sync", "document", str(document.pk), "--tenant", "stranger")


def test_the_admin_resyncs_documents(document, admin_client):
    tasks.delete_document_embeddings_task(document_id=str(document.pk))

    body = {"action": "resync", "_selected_action": [str(document.pk)]}
    response = admin_client.post("/admin/knowledge/document/", body, follow=True)

    assert "1 documents are queued." in response.text
    assert Chunk.objects.count() == 1


@pytest.mark.parametrize("name", ["fullsync", "searchmodel", "embeddingdeletion", "chunk"])
def test_the_admin_shows_the_rows(tenant, document, admin_client, name):
    services.start_full_sync(tenant=tenant)
    services.delete_document_embeddings(document=document)

    assert admin_client.get(f"/admin/knowledge/{name}/").status_code == 200
    row = {"fullsync": FullSync, "searchmodel": SearchModel, "embeddingdeletion": EmbeddingDeletion, "chunk": Chunk}
    address = f"/admin/knowledge/{name}/{row[name].objects.get().pk}/change/"
    assert admin_client.get(address).status_code == 200
