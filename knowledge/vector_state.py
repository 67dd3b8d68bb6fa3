"""Whether a document can be found by its meaning yet: how many chunks have a vector that search compares."""

from typing import Any

from django.db.models import Count, IntegerField, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.utils.translation import gettext_lazy as _

from core.states import State
from knowledge.models import Chunk, Document

READY = "ready"
MISSING = "missing"
CHOICES = [
    (READY, _("ready")),
    (State.QUEUED.value, State.QUEUED.label),
    (State.RUNNING.value, State.RUNNING.label),
    (State.FAILED.value, State.FAILED.label),
    (MISSING, _("missing")),
]


def with_counts(documents: QuerySet[Document]) -> QuerySet[Document]:
    """Add ``chunk_count`` and ``embedded_count`` to each document, and its sync item."""
    return documents.select_related("sync_item").annotate(
        chunk_count=_count(Chunk.objects.all()), embedded_count=_count(Chunk.objects.searchable())
    )


def state_of(document: Any) -> str:
    """Return one of `CHOICES` for a document of `with_counts`; words are searchable in every state."""
    if document.embedded_count == document.chunk_count:
        return READY
    item = getattr(document, "sync_item", None)
    return MISSING if item is None or item.state == State.DONE else str(item.state)


def _count(chunks: QuerySet[Chunk]) -> Coalesce:
    of_document = chunks.filter(document=OuterRef("pk")).order_by().values("document")
    counted = of_document.annotate(count=Count("pk")).values("count")
    return Coalesce(Subquery(counted, output_field=IntegerField()), 0)
