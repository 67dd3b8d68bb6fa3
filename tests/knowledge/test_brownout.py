"""What the making of vectors does while chats wait too long."""

from core import brownout
from knowledge import embeddings, sync_queue, tasks
from knowledge.models import Chunk

URL = "https://example.com/"


def test_fewer_documents_of_a_tenant_are_sent_at_a_time(store, tenant, settings, monkeypatch):
    settings.KNOWLEDGE_SYNC_WINDOW = 0
    for number in range(8):
        store(tenant, f"{URL}{number}", f"text {number}")
    settings.KNOWLEDGE_SYNC_WINDOW, settings.KNOWLEDGE_SYNC_TASKS = 4, 1000

    monkeypatch.setattr(brownout, "level", lambda: 1)
    assert len(sync_queue.take_due(limit=100)) == 2
    monkeypatch.setattr(brownout, "level", lambda: 0)
    assert len(sync_queue.take_due(limit=100)) == 2, "at full speed the window has room for four"


def test_a_long_document_gives_its_slot_back_after_a_smaller_batch(redis_client, store, tenant, embedder, monkeypatch):
    monkeypatch.setattr(brownout, "level", lambda: 1)
    text = "\n\n".join(f"## Part {number}\n\n{'word ' * 180}{number}" for number in range(2 * embeddings.BATCH_MAX))
    document = store(tenant, URL, text)

    tasks.sync_embeddings_task(document_id=str(document.pk))

    assert Chunk.objects.filter(embedding_model="stand-in/1").count() == embeddings.BATCH_MAX / 2
    assert Chunk.objects.filter(embedding_model="").exists()
