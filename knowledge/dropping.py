"""A version of a tenant's knowledge as a whole: copied to begin another, and taken away (docs/freshness.md)."""

from typing import Any

from django.db import connection, transaction

from core.batches import BATCH
from core.states import OPEN_STATES
from knowledge import embeddings
from knowledge.models import Chunk, Document, FullSync, SyncItem
from tenants.models import Tenant

_COPY_DOCUMENTS = """
    INSERT INTO knowledge_document (id, tenant_id, url, title, language, content, content_hash, fetched_at, excluded_at,
        created_at, updated_at)
    SELECT gen_random_uuid(), %(target)s, url, title, language, content, content_hash, fetched_at, excluded_at,
        created_at, updated_at
    FROM knowledge_document WHERE tenant_id = %(source)s AND (%(all)s OR id = ANY(%(ids)s))
"""
# A vector of another model than the next one's is left behind: its document is queued.
_COPY_CHUNKS = """
    INSERT INTO tenant_knowledge (tenant_id, document_id, chunk_index, heading_path, content, content_hash, embedding,
        embedding_model, next_embedding_model, search_vector, word_count)
    SELECT %(target)s, copied.id, chunk.chunk_index, chunk.heading_path, chunk.content, chunk.content_hash,
        CASE WHEN chunk.embedding_model = %(model)s THEN chunk.embedding END,
        CASE WHEN chunk.embedding_model = %(model)s THEN chunk.embedding_model ELSE '' END,
        '', chunk.search_vector, chunk.word_count
    FROM knowledge_document copied
    JOIN knowledge_document original ON original.tenant_id = %(source)s AND original.url = copied.url
    JOIN tenant_knowledge chunk ON chunk.document_id = original.id
    WHERE copied.tenant_id = %(target)s
"""


@transaction.atomic
def copy(*, source: Tenant, target: Tenant, is_whole: bool) -> int:
    """Copy the source's documents to an empty tenant, or only those of no website; return how many.

    Vectors are copied where they are of the settings' model; the others are queued to be made.
    """
    of_no_website = Document.objects.for_tenant(source).filter(pages=None)
    ids = [] if is_whole else list(of_no_website.values_list("pk", flat=True))
    parameters: dict[str, Any] = {
        "source": source.knowledge_id,
        "target": target.pk,
        "all": is_whole,
        "ids": ids,
        "model": embeddings.model_id(),
    }
    with connection.cursor() as cursor:
        cursor.execute(_COPY_DOCUMENTS, parameters)
        count = cursor.rowcount
        cursor.execute(_COPY_CHUNKS, parameters)
    without = Chunk.objects.for_tenant(target).filter(embedding_model="").values("document").distinct()
    items = [SyncItem(tenant=target, document_id=row["document"]) for row in without]
    SyncItem.objects.bulk_create(items, batch_size=BATCH)
    return count


def stop_work(holder: Tenant) -> None:
    """Have no more vectors made for what the row holds."""
    SyncItem.objects.filter(tenant=holder).delete()
    FullSync.objects.filter(tenant=holder).delete()


def forget_dropped_chunks(limit: int) -> int:
    """Delete passages of versions that were dropped; return how many."""
    return _delete_dropped(Chunk, limit)


def forget_dropped_documents(limit: int) -> int:
    """Delete documents of versions that were dropped; return how many."""
    return _delete_dropped(Document, limit)


def _delete_dropped(model: type[Chunk | Document], limit: int) -> int:
    dropped = model.objects.filter(tenant__version=Tenant.Version.DROPPED).order_by()
    ids = list(dropped.values_list("pk", flat=True)[:limit])
    model.objects.filter(pk__in=ids).delete()
    return len(ids)


def unfinished(tenant: Tenant) -> int:
    """Return how many documents still wait for vectors."""
    return SyncItem.objects.for_tenant(tenant).filter(state__in=OPEN_STATES).count()
