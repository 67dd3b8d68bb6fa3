"""All of a tenant's vectors made anew, and its switch to another embedding model.

The passages are walked in the order of their ids. Where the model changes, its vectors are put beside those in use,
which searches go on using; once no passage lacks one, a single row switches the tenant, and only then do the new
vectors take the old ones' place, batch by batch (docs/knowledge.md, changing the model).
"""

import uuid
from datetime import timedelta

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Count, F, Max, QuerySet
from django.db.models.functions import Coalesce, Now

from core.states import State
from core.turns import Turn
from knowledge import embeddings, indexing, search_model, sync_queue, version
from knowledge.errors import EmbeddingMismatchError, EmbeddingRefusedError
from knowledge.models import Chunk, FullSync, Place, Stage
from tenants.models import Tenant

BATCH_SIZE = 100
BATCH_SIZE_MAX = 1000
MOVE_BATCH = 500
RETRY_MAX_SECONDS = 640
FAILED_SHARE = 100  # one passage in so many may be refused by the model; more, and the tenant is not switched
STOPPED = "Stopped on demand."
OVERTAKEN = "Overtaken: the settings name another model now."

# Whoever waited longest first; the window holds for all tenants together, because each message is 20 s of work.
_TAKE_DUE = """
    WITH due AS (
        SELECT id FROM knowledge_fullsync
        WHERE state = 'queued' AND sent_at IS NULL AND not_before <= statement_timestamp()
        ORDER BY not_before
        LIMIT greatest(%(window)s - (
            SELECT count(*) FROM knowledge_fullsync WHERE state = 'running' OR state = 'queued' AND sent_at IS NOT NULL
        ), 0)
        FOR UPDATE SKIP LOCKED
    )
    UPDATE knowledge_fullsync SET sent_at = statement_timestamp()
    FROM due, tenants_tenant AS holder
    WHERE knowledge_fullsync.id = due.id AND holder.id = knowledge_fullsync.tenant_id
    RETURNING knowledge_fullsync.id, coalesce(holder.version_of_id, holder.id), knowledge_fullsync.stage
"""
# In the order of ids, and passing over what a page's worker holds: nobody waits, nothing deadlocks.
_MOVE = """
    UPDATE tenant_knowledge SET embedding = next_embedding, next_embedding = NULL, next_embedding_model = '',
        embedding_model = CASE WHEN next_embedding IS NULL THEN '' ELSE next_embedding_model END
    WHERE id IN (
        SELECT id FROM tenant_knowledge
        WHERE tenant_id = %(tenant)s AND next_embedding_model <> '' AND next_embedding_model = %(model)s
        ORDER BY id LIMIT %(limit)s FOR NO KEY UPDATE SKIP LOCKED
    )
"""
_FORGET_NEXT = """
    UPDATE tenant_knowledge SET next_embedding = NULL, next_embedding_model = ''
    WHERE id IN (
        SELECT id FROM tenant_knowledge
        WHERE tenant_id = %(tenant)s AND next_embedding_model <> '' AND next_embedding_model <> %(model)s
        ORDER BY id LIMIT %(limit)s FOR NO KEY UPDATE SKIP LOCKED
    )
"""
_FORGET_OLD = """
    UPDATE tenant_knowledge SET embedding = NULL, embedding_model = ''
    WHERE id IN (
        SELECT id FROM tenant_knowledge
        WHERE tenant_id = %(tenant)s AND embedding_model NOT IN ('', %(model)s)
        ORDER BY id LIMIT %(limit)s FOR NO KEY UPDATE SKIP LOCKED
    )
"""


def take_due() -> list[tuple[uuid.UUID, uuid.UUID, str]]:
    """Mark due runs as sent, within the window, and return the id, customer and stage of each for sending."""
    with connection.cursor() as cursor:
        cursor.execute(_TAKE_DUE, {"window": settings.KNOWLEDGE_FULL_SYNC_WINDOW})
        return list(cursor.fetchall())


def give_back(run_ids: list[uuid.UUID]) -> None:
    """Undo `take_due` for runs whose message could not be sent."""
    if not run_ids:
        return
    FullSync.objects.filter(pk__in=run_ids, state=State.QUEUED).update(sent_at=None)


def repair(*, limit: int) -> int:
    """Free the runs of dead workers and lost messages, and close those that killed every worker; return how many."""
    return FullSync.objects.repair(limit=limit, error="The worker died each time it went on.", finished_at=Now())


@transaction.atomic
def open_for(tenant_id: uuid.UUID, *, batch_size: int) -> FullSync:
    """Return the tenant's open run to the settings' model, a new one if there is none.

    A run to another model than the settings' is closed, unless it has switched already: then it is returned.
    """
    current, model = search_model.lock(tenant_id).model, embeddings.model_id()
    active: FullSync | None = FullSync.objects.open().filter(tenant_id=tenant_id).select_for_update().first()
    if active and (active.model == model or active.stage == Stage.MOVING):
        return active
    if active:
        close(active.pk, OVERTAKEN)
    last = Chunk.objects.filter(tenant_id=tenant_id).aggregate(last=Max("pk"))["last"] or 0
    run = FullSync(tenant_id=tenant_id, model=model, previous_model=current, last_chunk_id=last)
    run.batch_size = min(max(batch_size, 1), BATCH_SIZE_MAX)
    run.total = _waiting(run).count()
    run.save(force_insert=True)
    return run


def open_for_all(*, batch_size: int) -> int:
    """Give every active tenant with knowledge an open run; return how many there are."""
    known = Chunk.objects.values("tenant").annotate(count=Count("pk")).values("tenant")
    live = Coalesce("holder", "pk")
    active = Tenant.objects.filter(is_active=True).annotate(live=live).filter(live__in=known)
    holders = list(active.order_by("pk").values_list("live", flat=True))
    for holder_id in holders:
        open_for(holder_id, batch_size=batch_size)
    return len(holders)


def close(run_id: uuid.UUID | str, reason: str) -> bool:
    """End an open run that has not switched; whoever works on it loses its claim."""
    run = FullSync.objects.embedding().filter(pk=run_id)
    return bool(run.update(state=State.FAILED, error=reason, finished_at=Now(), **FullSync.UNCLAIMED))


def retry_failed(*, tenant_id: uuid.UUID | None = None) -> int:
    """Have each tenant's last run go on where it was given up, if it was; return how many."""
    last = FullSync.objects.order_by("tenant", "-created_at").distinct("tenant")
    if tenant_id:
        last = last.filter(tenant_id=tenant_id)
    ended = [run for run in last if run.state == State.FAILED and run.model == embeddings.model_id()]
    again = [run.pk for run in ended if run.error != STOPPED]
    return FullSync.objects.filter(pk__in=again, state=State.FAILED).update(
        state=State.QUEUED, attempts=0, not_before=Now(), error="", finished_at=None, **FullSync.UNCLAIMED
    )


def work_on(run: FullSync) -> bool:
    """Do a slice of the claimed run; return whether its vectors are all made. What is left is queued again.

    Raises:
        EmbeddingError: if the model fails; what was made before stays.
    """
    turn = Turn(settings.KNOWLEDGE_SYNC_SLICE_SECONDS)
    if run.stage == Stage.EMBEDDING:
        if not _embed_some(run, turn):
            _pause(run)
            return False
        return _switch(run)
    if _move_some(run, turn):
        _finish(run)
    else:
        _pause(run)
    return True


def fail(run: FullSync, reason: str) -> bool:
    """Try again later; give up after ``KNOWLEDGE_FULL_SYNC_MAX_ATTEMPTS`` without progress and return True."""
    delay = sync_queue.RETRY_FIRST_SECONDS * sync_queue.RETRY_FACTOR ** max(run.attempts - 1, 0)
    is_last = run.stage == Stage.EMBEDDING and run.attempts >= settings.KNOWLEDGE_FULL_SYNC_MAX_ATTEMPTS
    if is_last:
        return _end(run, State.FAILED, reason)
    run.let_go(
        state=State.QUEUED,
        not_before=Now() + timedelta(seconds=min(delay, RETRY_MAX_SECONDS)),
        error=reason[:2000],
    )
    return False


def _waiting(run: FullSync) -> QuerySet[Chunk]:
    """Return the passages that the run still has to come to. Later ones get their vectors from the queue."""
    chunks: QuerySet[Chunk] = Chunk.objects.filter(tenant_id=run.tenant_id, pk__gt=run.cursor)
    if run.changes_model:
        return chunks.exclude(next_embedding_model=run.model)
    return chunks.filter(pk__lte=run.last_chunk_id)


def _embed_some(run: FullSync, turn: Turn) -> bool:
    """Make at most ``batch_size`` vectors; return True once the walk has come to its end."""
    waiting = _waiting(run).select_related("document").order_by("pk").defer(*Chunk.LARGE, "document__content")
    chunks = list(waiting[: run.batch_size])
    for start in range(0, len(chunks), embeddings.BATCH_MAX):
        batch = chunks[start : start + embeddings.BATCH_MAX]
        if not _save(run, batch, _vectors(run, batch)) or turn.is_over():
            return False
    return len(chunks) < run.batch_size


def _vectors(run: FullSync, chunks: list[Chunk]) -> list[list[float] | None]:
    """Return the vectors, None for a passage that the model refuses; raise if it refuses everything."""
    texts = [
        indexing.passage_text(title=chunk.document.title, heading_path=chunk.heading_path, content=chunk.content)
        for chunk in chunks
    ]
    try:
        return list(embeddings.embed_passages(texts, model=run.model))
    except (EmbeddingRefusedError, EmbeddingMismatchError):
        embeddings.embed_passages(["?"], model=run.model)  # the fault is not one of these passages': raise
    return [_vector_or_none(text, run.model) for text in texts]


def _vector_or_none(text: str, model: str) -> list[float] | None:
    try:
        return embeddings.embed_passages([text], model=model)[0]
    except (EmbeddingRefusedError, EmbeddingMismatchError):
        return None


def _save(run: FullSync, chunks: list[Chunk], vectors: list[list[float] | None]) -> bool:
    """Store the vectors and move the cursor in one transaction; return False if the claim is lost."""
    refused = vectors.count(None)
    with transaction.atomic():
        sync_queue.lock_documents(chunk.document_id for chunk in chunks)
        cursor = chunks[-1].pk
        if not run.renew(cursor=cursor, done=F("done") + len(chunks), failed=F("failed") + refused, error=""):
            return False
        made = [(chunk, vector) for chunk, vector in zip(chunks, vectors, strict=True) if vector or run.changes_model]
        for chunk, vector in made:
            run.place.put(chunk, run.model, vector)
        Chunk.objects.bulk_update([chunk for chunk, _vector in made], [run.place.vector, run.place.model])
    run.cursor = cursor
    return True


@transaction.atomic
def _switch(run: FullSync) -> bool:
    """Have the tenant searched with the new model, if nothing would be lost; return False if the walk begins again.

    The lock keeps the pages' workers from adding a vector of the old model while this looks for such without a new.
    """
    used = search_model.lock(run.tenant_id)
    old = Chunk.objects.filter(tenant_id=run.tenant_id, embedding_model=used.model, embedding__isnull=False)
    missing = old.exclude(next_embedding_model=run.model).count() if run.changes_model else 0
    if missing:  # stored while the walk went by
        run.let_go(state=State.QUEUED, cursor=0, total=F("total") + missing, not_before=Now())
        return False
    refused = old.filter(next_embedding_model=run.model, next_embedding__isnull=True).count()
    if refused > max(run.total // FAILED_SHARE, 1):
        _end(run, State.FAILED, f"The model refuses {refused} passages that the one in use knows: not switched.")
        return True
    grace = timedelta(seconds=settings.KNOWLEDGE_FULL_SYNC_GRACE_SECONDS if run.changes_model else 0)
    if run.let_go(state=State.QUEUED, stage=Stage.MOVING, switched_at=Now(), not_before=Now() + grace):
        used.model = run.model
        used.save(update_fields=["model"])
        version.add_change(run.tenant_id)
    return True


def _move_some(run: FullSync, turn: Turn) -> bool:
    """Put the new vectors in the old ones' place and drop what is left over; return whether all is done."""
    for statement in (_MOVE, _FORGET_NEXT, _FORGET_OLD):
        while _move_batch(run, statement):
            if not run.renew() or turn.is_over():
                return False
    left = Chunk.objects.filter(tenant_id=run.tenant_id)
    return not (
        left.exclude(**{Place.NEXT.model: ""}).exists() or left.exclude(embedding_model__in=["", run.model]).exists()
    )


def _move_batch(run: FullSync, statement: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(statement, {"tenant": run.tenant_id, "model": run.model, "limit": MOVE_BATCH})
        return cursor.rowcount


@transaction.atomic
def _finish(run: FullSync) -> None:
    """Close the run; what has no vector now is the queue's, where a refusal ends as a row with its reason."""
    if _end(run, State.DONE, ""):
        sync_queue.retry_documents_without_vectors(run.tenant_id)
        version.add_change(run.tenant_id)


def _pause(run: FullSync) -> None:
    """Queue the rest, behind the other tenants' runs."""
    run.let_go(state=State.QUEUED, not_before=Now())


def _end(run: FullSync, state: State, error: str) -> bool:
    return run.let_go(state=state, error=error[:2000], finished_at=Now())
