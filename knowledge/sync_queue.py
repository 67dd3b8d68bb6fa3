"""Which documents get their vectors next, and the work itself.

Fairness: only a few documents of each tenant (``KNOWLEDGE_SYNC_WINDOW``) are on the queue at a time, so ten
thousand pages of one never stand before the first page of another. Whoever finishes one sends that tenant's next.
"""

import time
import uuid
from datetime import timedelta

from django.conf import settings
from django.db import connection, transaction
from django.db.models.functions import Now

from core.states import State
from knowledge import embeddings, indexing, version
from knowledge.models import Chunk, Document, SyncItem

RETRY_FIRST_SECONDS = 10
RETRY_FACTOR = 4  # 10 s, 40 s, 160 s, 640 s: an hour of outage is not survived in one go, a restart is

# Tenants in random order, so that a short limit leaves nobody out for long.
_TAKE_DUE = """
    WITH due AS (
        SELECT item.id
        FROM (SELECT id FROM tenants_tenant WHERE %(tenant)s::uuid IS NULL OR id = %(tenant)s ORDER BY random()) tenant
        CROSS JOIN LATERAL (
            SELECT count(*) AS count FROM knowledge_syncitem
            WHERE tenant_id = tenant.id AND (state = 'queued' AND sent_at IS NOT NULL OR state = 'running')
        ) sent
        CROSS JOIN LATERAL (
            SELECT id FROM knowledge_syncitem
            WHERE tenant_id = tenant.id AND state = 'queued' AND sent_at IS NULL AND not_before <= statement_timestamp()
            ORDER BY not_before
            LIMIT greatest(%(window)s - sent.count, 0)
            FOR UPDATE SKIP LOCKED
        ) item
        LIMIT %(limit)s
    )
    UPDATE knowledge_syncitem SET sent_at = statement_timestamp()
    FROM due WHERE knowledge_syncitem.id = due.id
    RETURNING knowledge_syncitem.document_id
"""


def take_due(*, tenant_id: uuid.UUID | None = None, limit: int) -> list[uuid.UUID]:
    """Mark due documents as sent, within each tenant's window, and return their ids for sending."""
    parameters = {"tenant": tenant_id, "window": settings.KNOWLEDGE_SYNC_WINDOW, "limit": limit}
    with connection.cursor() as cursor:
        cursor.execute(_TAKE_DUE, parameters)
        return [document_id for (document_id,) in cursor.fetchall()]


def give_back(document_ids: list[uuid.UUID]) -> None:
    """Undo `take_due` for documents whose message could not be sent."""
    SyncItem.objects.filter(document_id__in=document_ids, state=State.QUEUED).update(sent_at=None)


def repair(*, limit: int) -> int:
    """Free the jobs of dead workers and of lost messages, and close those that killed every worker; return how many."""
    stuck = SyncItem.objects.lost() | SyncItem.objects.unanswered()
    with transaction.atomic():
        ids = list(stuck.select_for_update(skip_locked=True).values_list("pk", flat=True)[:limit])
        items = SyncItem.objects.filter(pk__in=ids)
        free = {"sent_at": None, "lease_until": None, "lease_token": None}
        items.filter(attempts__gte=settings.KNOWLEDGE_SYNC_MAX_ATTEMPTS).update(
            state=State.FAILED, error="The worker died each time it made this document's vectors.", **free
        )
        items.exclude(state=State.FAILED).update(state=State.QUEUED, **free)
    return len(ids)


def work_on(item: SyncItem) -> bool:
    """Make vectors for a slice of the claimed document; return whether none is missing any more.

    Each batch is committed as it is made and renews the lease. Ends early when the claim is lost to newer text.

    Raises:
        EmbeddingError: if the model fails; what was made before stays.
    """
    model = embeddings.model_id()
    deadline = time.monotonic() + settings.KNOWLEDGE_SYNC_SLICE_SECONDS
    missing = Chunk.objects.filter(document_id=item.document_id).without_vector(model)
    _copy_known_vectors(item, model)
    while batch := list(missing.order_by("chunk_index").defer("embedding", "search_vector")[: embeddings.BATCH_MAX]):
        title = Document.objects.values_list("title", flat=True).get(pk=item.document_id)
        texts = [
            indexing.passage_text(title=title, heading_path=chunk.heading_path, content=chunk.content)
            for chunk in batch
        ]
        vectors = embeddings.embed_passages(texts)
        if not _save(item, model, batch, vectors):
            return False
        if time.monotonic() > deadline:  # after a batch, never before: a slice always gets somewhere
            return not missing.exists()
    return True


def _save(item: SyncItem, model: str, chunks: list[Chunk], vectors: list[list[float]]) -> bool:
    """Store the vectors; return False if the claim is lost, because then the text is no longer the one embedded."""
    with transaction.atomic():
        # The document first, as store_page does: locking chunks in two orders could deadlock.
        list(Document.objects.select_for_update(no_key=True).filter(pk=item.document_id).values_list("pk"))
        if not item.renew():
            return False
        for chunk, vector in zip(chunks, vectors, strict=True):
            chunk.embedding, chunk.embedding_model = vector, model
        Chunk.objects.bulk_update(chunks, ["embedding", "embedding_model"])
    return True


_COPY = """
    UPDATE tenant_knowledge target SET embedding = source.embedding, embedding_model = source.embedding_model
    FROM (
        SELECT DISTINCT ON (content_hash) content_hash, embedding, embedding_model FROM tenant_knowledge
        WHERE tenant_id = %(tenant)s AND embedding_model = %(model)s AND embedding IS NOT NULL AND content_hash IN (
            SELECT content_hash FROM tenant_knowledge
            WHERE document_id = %(document)s AND embedding_model <> %(model)s
        )
    ) source
    WHERE target.document_id = %(document)s AND target.embedding_model <> %(model)s
        AND target.content_hash = source.content_hash
"""


def _copy_known_vectors(item: SyncItem, model: str) -> None:
    """Take the vectors of identical passages of the same tenant and model; another tenant's are never looked at."""
    with transaction.atomic(), connection.cursor() as cursor:
        list(Document.objects.select_for_update(no_key=True).filter(pk=item.document_id).values_list("pk"))
        cursor.execute(_COPY, {"tenant": item.tenant_id, "document": item.document_id, "model": model})


@transaction.atomic
def finish(item: SyncItem) -> None:
    """Close the job; its vectors are new to search, so the tenant's knowledge has changed."""
    if item.holds().update(state=State.DONE, sent_at=None, lease_until=None, lease_token=None, error=""):
        version.add_change(item.tenant_id)


def pause(item: SyncItem) -> None:
    """Put a document with work left back in the queue, behind the tenant's others."""
    item.holds().update(
        state=State.QUEUED, attempts=0, sent_at=None, lease_until=None, lease_token=None, not_before=Now()
    )


def fail(item: SyncItem, reason: str) -> None:
    """Try the document again later, or give up after ``KNOWLEDGE_SYNC_MAX_ATTEMPTS`` without progress."""
    delay = RETRY_FIRST_SECONDS * RETRY_FACTOR ** max(item.attempts - 1, 0)
    is_last = item.attempts >= settings.KNOWLEDGE_SYNC_MAX_ATTEMPTS
    item.holds().update(
        state=State.FAILED if is_last else State.QUEUED,
        not_before=Now() + timedelta(seconds=delay),
        error=reason[:2000],
        sent_at=None,
        lease_until=None,
        lease_token=None,
    )
