"""Deleting a document's passages and vectors on demand. One short transaction; doing it twice changes nothing."""

import uuid

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from core.states import State
from knowledge import holders, version
from knowledge.models import Chunk, Document, EmbeddingDeletion, SyncItem
from knowledge.models.syncing import resend_gap


@transaction.atomic
def delete_embeddings(document_id: uuid.UUID | str, *, deletion_id: uuid.UUID | str | None = None) -> int | None:
    """Delete them and mark the document as excluded; return the number of passages, None if there is no document.

    A deletion that is over does nothing: its message may come again after the document was brought back. A call
    without one, or with an id of its own, leaves its row.
    """
    EmbeddingDeletion.objects.filter(document=None, state=State.QUEUED).update(state=State.DONE, finished_at=Now())
    asked_for = Document.objects.filter(pk=document_id).select_related("tenant").defer("content").first()
    found = {twin.pk: twin for twin in holders.twins(asked_for).defer("content")} if asked_for else {}
    if asked_for is None or asked_for.pk not in found:
        return None
    asked = EmbeddingDeletion.objects.filter(pk=deletion_id).first() if deletion_id else None
    if asked and asked.state != State.QUEUED:
        return 0
    counts = {twin.pk: _exclude(twin) for twin in found.values()}
    _record(asked_for, deletion_id, counts[asked_for.pk])
    return counts[asked_for.pk]


def _exclude(document: Document) -> int:
    count: int = Chunk.objects.filter(document=document).delete()[0]
    SyncItem.objects.filter(document=document).delete()  # a worker that is at it loses its claim
    if not document.excluded_at:
        Document.objects.filter(pk=document.pk).update(excluded_at=Now())
        version.add_change(document.tenant_id)
    return count


def exclude_alike(*, holder_id: uuid.UUID, as_in: uuid.UUID) -> int:
    """Exclude the documents of a version that are excluded in another; return how many were not yet.

    Its own crawl may have stored one after it was excluded elsewhere.
    """
    excluded = Document.objects.filter(tenant=as_in, excluded_at__isnull=False).values("url")
    rows = Document.objects.filter(tenant=holder_id, excluded_at=None, url__in=excluded).order_by("pk")
    found = list(rows.select_for_update(no_key=True).defer("content"))
    for document in found:
        _exclude(document)
    return len(found)


def _record(document: Document, deletion_id: uuid.UUID | str | None, count: int) -> None:
    """Close every deletion of the document that waits; what was called by its name gets a row of its own."""
    done = {"state": State.DONE, "chunk_count": count, "finished_at": Now()}
    if EmbeddingDeletion.objects.filter(document=document, state=State.QUEUED).update(**done):
        return
    EmbeddingDeletion.objects.create(
        pk=deletion_id or uuid.uuid4(), tenant_id=document.tenant_id, document=document, url=document.url, **done
    )


def take_lost(*, limit: int) -> list[EmbeddingDeletion]:
    """Mark the deletions whose message nobody took as sent again, and return them for sending."""
    gap = resend_gap(F("sent_at") - F("created_at"))
    lost = EmbeddingDeletion.objects.filter(state=State.QUEUED, sent_at__lt=Now() - gap)
    with transaction.atomic():
        ids = list(lost.select_for_update(skip_locked=True).values_list("pk", flat=True)[:limit])
        EmbeddingDeletion.objects.filter(pk__in=ids).update(sent_at=Now())
    return list(EmbeddingDeletion.objects.select_related("tenant").filter(pk__in=ids))
