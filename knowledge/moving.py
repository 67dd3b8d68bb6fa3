"""A tenant's documents as a whole: copied to another version of its knowledge, or moved (docs/freshness.md)."""

from typing import Any

from django.db import connection, transaction

from core.batches import BATCH
from core.states import OPEN_STATES
from knowledge import embeddings, version
from knowledge.models import Chunk, Document, Refetch, SearchModel, SyncItem
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
        "source": source.pk,
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


@transaction.atomic
def move(*, source: Tenant, target: Tenant) -> None:
    """Give all documents of the source, with their vectors and model, to a tenant that has none."""
    for model in (Document, Chunk, SyncItem, Refetch, SearchModel):
        model.objects.filter(tenant=source).update(tenant=target)
    for tenant in (source, target):
        version.add_change(tenant.pk)


def unfinished(tenant: Tenant) -> int:
    """Return how many documents still wait for vectors."""
    return SyncItem.objects.for_tenant(tenant).filter(state__in=OPEN_STATES).count()
