"""Which documents get their vectors next, and the work itself.

Fairness: only a few documents of each tenant (``KNOWLEDGE_SYNC_WINDOW``) and of all together (``KNOWLEDGE_SYNC_TASKS``)
are on the queue at a time, so ten thousand pages of one stand neither before the first page of another nor before its
crawl. Whoever finishes one sends the next: of a tenant that has none on the queue, then of the one with least to do.
"""

import json
import uuid
from collections.abc import Iterable
from datetime import timedelta

from django.conf import settings
from django.db import connection, transaction
from django.db.models.functions import Now

from core import brownout, turns
from core.states import State
from core.turns import Turn
from knowledge import embeddings, indexing, search_model, version
from knowledge.models import Chunk, Document, Place, SyncItem, VersionCopy

RETRY_FIRST_SECONDS = 10
RETRY_FACTOR = 4  # 10 s, 40 s, 160 s, 640 s: an hour of outage is not survived in one go, a restart is

_MANY_WAITING = 50  # documents; a tenant with more counts as having so many
_TAKING_LOCK = 0x73796E63  # of this module alone
SHARED_BATCH = 2  # passages, a quarter of a second's work, after which a task looks whether others wait

# A version that is only kept gets its vectors when it is live again: its model may not be in the settings any more.
# One document of each tenant; ties in random order, so that a short limit leaves nobody out for long. Only documents of
# tenants that are as urgent take up room: those of others, which are further behind in the broker, hold nobody up.
_TAKE_DUE = """
    WITH tenant AS MATERIALIZED (
        SELECT id, coalesce((%(levels)s::jsonb ->> coalesce(version_of_id, id)::text)::int, 0) AS level
        FROM tenants_tenant WHERE version <> 'previous'
    ),
    sent AS MATERIALIZED (
        SELECT level FROM (
            SELECT tenant_id FROM knowledge_syncitem WHERE state = 'queued' AND sent_at IS NOT NULL OR state = 'running'
            UNION ALL
            SELECT tenant_id FROM knowledge_fullsync WHERE state = 'queued' AND sent_at IS NOT NULL OR state = 'running'
        ) job JOIN tenant ON tenant.id = tenant_id
    ),
    due AS (
        SELECT item.id
        FROM (
            SELECT tenant.*, row_number() OVER (ORDER BY level, sent.count > 0, waiting.count, random()) AS place
            FROM tenant
            CROSS JOIN LATERAL (
                SELECT count(*) AS count FROM knowledge_syncitem
                WHERE tenant_id = tenant.id AND (state = 'queued' AND sent_at IS NOT NULL OR state = 'running')
            ) sent
            CROSS JOIN LATERAL (
                SELECT count(*) AS count FROM (
                    SELECT FROM knowledge_syncitem
                    WHERE tenant_id = tenant.id AND state = 'queued' AND sent_at IS NULL
                        AND not_before <= statement_timestamp()
                    LIMIT %(many)s
                ) few
            ) waiting
            WHERE (%(tenant)s::uuid IS NULL OR tenant.id = %(tenant)s)
                AND sent.count < %(window)s AND waiting.count > 0
        ) tenant
        CROSS JOIN LATERAL (
            SELECT id FROM knowledge_syncitem
            WHERE tenant_id = tenant.id AND state = 'queued' AND sent_at IS NULL AND not_before <= statement_timestamp()
            ORDER BY not_before
            LIMIT 1
            FOR UPDATE SKIP LOCKED
        ) item
        WHERE tenant.place <= %(tasks)s - (SELECT count(*) FROM sent WHERE sent.level <= tenant.level)
        ORDER BY tenant.place
        LIMIT %(limit)s
    )
    UPDATE knowledge_syncitem SET sent_at = statement_timestamp()
    FROM due WHERE knowledge_syncitem.id = due.id
    RETURNING knowledge_syncitem.document_id
"""


def take_due(*, tenant_id: uuid.UUID | None = None, limit: int) -> list[uuid.UUID]:
    """Mark due documents as sent, within each tenant's window and that of all, and return their ids for sending."""
    parameters = {
        "tenant": tenant_id,
        "window": brownout.window(settings.KNOWLEDGE_SYNC_WINDOW),
        "tasks": brownout.window(settings.KNOWLEDGE_SYNC_TASKS),
        "many": _MANY_WAITING,
        "levels": json.dumps(turns.levels()),
    }
    taken: list[uuid.UUID] = []
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_TAKING_LOCK])  # two at once would both see the same room
        while len(taken) < limit:
            cursor.execute(_TAKE_DUE, parameters | {"limit": limit - len(taken)})
            found = [document_id for (document_id,) in cursor.fetchall()]
            if not found:
                break
            taken += found
    return taken


def give_back(document_ids: list[uuid.UUID]) -> None:
    """Undo `take_due` for documents whose message could not be sent."""
    if not document_ids:
        return
    SyncItem.objects.filter(document_id__in=document_ids, state=State.QUEUED).update(sent_at=None)


def repair(*, limit: int) -> int:
    """Free the jobs of dead workers and of lost messages, and close those that killed every worker; return how many."""
    return SyncItem.objects.repair(limit=limit, error="The worker died each time it made this document's vectors.")


def retry_failed(*, tenant_id: uuid.UUID | None = None) -> int:
    """Put the documents that were given up back in the queue, as if new; return how many."""
    failed = SyncItem.objects.filter(state=State.FAILED)
    if tenant_id:
        failed = failed.filter(tenant_id=tenant_id)
    return failed.update(state=State.QUEUED, attempts=0, not_before=Now(), error="", **SyncItem.UNCLAIMED)


def retry_documents_without_vectors(tenant_id: uuid.UUID) -> int:
    """Queue the documents that count as done although a passage of theirs has no vector; return how many."""
    lacking = Chunk.objects.filter(tenant_id=tenant_id, embedding_model="").values("document")
    done = SyncItem.objects.filter(tenant_id=tenant_id, state=State.DONE, document__in=lacking)
    return done.update(state=State.QUEUED, attempts=0, not_before=Now(), **SyncItem.UNCLAIMED)


def work_on(item: SyncItem) -> bool:
    """Make vectors for a slice of the claimed document; return whether none is missing any more.

    Each batch is committed as it is made and renews the lease. Ends early when the claim is lost to newer text, or
    when the tenant begins to change its model, or has changed it.

    Raises:
        EmbeddingError: if the model fails; what was made before stays.
    """
    turn = Turn(settings.KNOWLEDGE_SYNC_SLICE_SECONDS, tenant_id=item.tenant.customer_id)
    with transaction.atomic():
        plan = search_model.plan(item.tenant_id)
    for place, model in plan:
        _copy_known_vectors(item, plan, place, model)
        missing = Chunk.objects.filter(document_id=item.document_id).without_vector(model)
        while batch := list(missing.order_by("chunk_index").defer(*Chunk.LARGE)[: _batch_size(turn)]):
            for chunk, vector in zip(batch, embeddings.embed_passages(_texts(item, batch), model=model), strict=True):
                place.put(chunk, model, vector)
            if not _save(item, plan, place, batch):
                return False
            # After a batch, never before: a slice always gets somewhere. While chats wait too long it is no more.
            if turn.is_over() or brownout.level():
                break
        if missing.exists():
            return False
    return True


def _batch_size(turn: Turn) -> int:
    return min(brownout.window(embeddings.BATCH_MAX), SHARED_BATCH if turn.others_wait() else embeddings.BATCH_MAX)


def _texts(item: SyncItem, chunks: list[Chunk]) -> list[str]:
    title = Document.objects.values_list("title", flat=True).filter(pk=item.document_id).first() or ""
    return [
        indexing.passage_text(title=title, heading_path=chunk.heading_path, content=chunk.content) for chunk in chunks
    ]


def _save(item: SyncItem, plan: search_model.Plan, place: Place, chunks: list[Chunk]) -> bool:
    """Store the vectors; return False if the claim is lost, because then the text is no longer the one embedded."""
    with transaction.atomic():
        lock_documents([item.document_id])
        if not item.renew() or search_model.plan(item.tenant_id) != plan:
            return False
        Chunk.objects.bulk_update(chunks, [place.vector, place.model])
    return True


def lock_documents(document_ids: Iterable[uuid.UUID]) -> None:
    """Lock them before their chunks, as store_page does, and in one order: two orders could deadlock."""
    rows = Document.objects.select_for_update(no_key=True).filter(pk__in=set(document_ids))
    list(rows.order_by("pk").values_list("pk"))


_COPY = """
    UPDATE tenant_knowledge target SET {vector} = source.{vector}, {model} = source.{model}
    FROM (
        SELECT DISTINCT ON (content_hash) content_hash, {vector}, {model} FROM tenant_knowledge
        WHERE tenant_id IN (SELECT id FROM tenants_tenant WHERE id = %(customer)s OR version_of_id = %(customer)s)
            AND {model} = %(model)s AND {vector} IS NOT NULL AND content_hash IN (
            SELECT content_hash FROM tenant_knowledge
            WHERE document_id = %(document)s AND {model} <> %(model)s
        )
    ) source
    WHERE target.document_id = %(document)s AND target.{model} <> %(model)s
        AND target.content_hash = source.content_hash
"""


def _copy_known_vectors(item: SyncItem, plan: search_model.Plan, place: Place, model: str) -> None:
    """Take the vectors of the model that any version of the tenant's has for identical passages.

    Another tenant's are never looked at.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        lock_documents([item.document_id])
        if search_model.plan(item.tenant_id) == plan:
            cursor.execute(
                _COPY.format(vector=place.vector, model=place.model),
                {"customer": item.tenant.customer_id, "document": item.document_id, "model": model},
            )


@transaction.atomic
def finish(item: SyncItem) -> None:
    """Close the job; its vectors are new to search, so the tenant's knowledge has changed."""
    if item.let_go(state=State.DONE, error=""):
        version.add_change(item.tenant_id)


def pause(item: SyncItem) -> None:
    """Put a document with work left back in the queue, behind the tenant's others."""
    item.let_go(state=State.QUEUED, attempts=0, not_before=Now())


def fail(item: SyncItem | VersionCopy, reason: str) -> None:
    """Try it again later, or give up after ``KNOWLEDGE_SYNC_MAX_ATTEMPTS`` without progress."""
    delay = RETRY_FIRST_SECONDS * RETRY_FACTOR ** max(item.attempts - 1, 0)
    is_last = item.attempts >= settings.KNOWLEDGE_SYNC_MAX_ATTEMPTS
    item.let_go(
        state=State.FAILED if is_last else State.QUEUED,
        not_before=Now() + timedelta(seconds=delay),
        error=reason[:2000],
    )
