"""A version's documents copied from the live one in the background, to begin another (docs/freshness.md).

They are walked in the order of their URLs, a bounded batch a transaction, so a copy goes on where its worker died. What
changes in the live version meanwhile is changed in both (`knowledge.holders`): the walk passes over what is there.
"""

import uuid
from itertools import accumulate
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Count, F, QuerySet
from django.db.models.functions import Now

from core.states import OPEN_STATES, State
from core.turns import Turn
from knowledge import holders, search_model
from knowledge.models import Chunk, Document, SyncItem, VersionCopy
from tenants.models import Tenant

DOCUMENTS_MAX = 100  # of a batch
PASSAGES_MAX = 1000  # of one, unless a single document has more: 0.3 s

# Whatever deletes one without asking `holders`, such as a cascade, waits until it is copied with its passages.
_HOLD = "SELECT id FROM knowledge_document WHERE id = ANY(%s) ORDER BY id FOR KEY SHARE"
_COPY_DOCUMENTS = """
    INSERT INTO knowledge_document (id, tenant_id, url, title, language, content, content_hash, fetched_at, excluded_at,
        created_at, updated_at)
    SELECT gen_random_uuid(), %(target)s, url, title, language, content, content_hash, fetched_at, excluded_at,
        created_at, updated_at
    FROM knowledge_document WHERE id = ANY(%(ids)s)
    ON CONFLICT (tenant_id, url) DO NOTHING
    RETURNING id
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
    WHERE copied.id = ANY(%(new)s)
"""


def begin(*, source: Tenant, target: Tenant, is_whole: bool) -> VersionCopy:
    """Queue the copy of the live version to an empty one.

    Without ``is_whole`` only of what a crawl would not bring: documents of no website, and which passages were deleted
    on demand.
    """
    copy = VersionCopy(tenant=target, source_id=source.knowledge_id, is_whole=is_whole)
    copy.total = _wanted(copy).count()
    copy.save(force_insert=True)
    return copy


def unfinished(holder: Tenant) -> VersionCopy | None:
    """Return the copy that the version began with, unless all is copied."""
    copy: VersionCopy | None = VersionCopy.objects.for_tenant(holder).exclude(state=State.DONE).first()
    return copy


def without_vectors(holder: Tenant) -> int:
    """Return how many of the version's documents still wait for vectors."""
    return SyncItem.objects.for_tenant(holder).filter(state__in=OPEN_STATES).count()


def take_due(*, limit: int) -> list[VersionCopy]:
    """Mark copies as sent, whoever waited longest first, and return them for sending."""
    due = VersionCopy.objects.filter(state=State.QUEUED, sent_at=None, not_before__lte=Now()).order_by("not_before")
    with transaction.atomic():
        copies = list(due.select_for_update(skip_locked=True, of=["self"]).select_related("tenant")[:limit])
        VersionCopy.objects.filter(pk__in=[copy.pk for copy in copies]).update(sent_at=Now())
    return copies


def give_back(copies: list[VersionCopy]) -> None:
    """Undo `take_due` for copies whose message could not be sent."""
    VersionCopy.objects.filter(pk__in=[copy.pk for copy in copies], state=State.QUEUED).update(sent_at=None)


def repair(*, limit: int) -> int:
    """Free the copies of dead workers and lost messages, and close those that killed every worker; return how many."""
    return VersionCopy.objects.repair(limit=limit, error="The worker died each time it went on.", finished_at=Now())


def work_on(copy: VersionCopy) -> bool:
    """Copy for a slice; return whether all is copied. What is left is queued again, behind others."""
    turn = Turn(settings.KNOWLEDGE_SYNC_SLICE_SECONDS, tenant_id=copy.tenant.customer_id)
    while batch := _next_batch(copy):
        if not _copy(copy, batch):
            return False
        if turn.is_over():
            copy.let_go(state=State.QUEUED, not_before=Now())
            return False
    return copy.let_go(state=State.DONE, error="", finished_at=Now())


def _wanted(copy: VersionCopy) -> QuerySet[Document]:
    documents: QuerySet[Document] = Document.objects.filter(tenant=copy.source_id)
    if copy.is_whole:
        return documents
    read_anew = documents.filter(pages__isnull=False, excluded_at=None)
    return documents.exclude(pk__in=read_anew.values("pk"))


def _next_batch(copy: VersionCopy) -> dict[uuid.UUID, str]:
    """Return the URLs of the next documents by their ids, so many that their passages are not too many."""
    rest = _wanted(copy).filter(url__gt=copy.cursor).order_by("url").values_list("pk", "url")
    found = dict(rest[:DOCUMENTS_MAX])
    counted = Chunk.objects.filter(document__in=found).order_by().values_list("document").annotate(Count("pk"))
    counts = dict(counted)
    sums = accumulate(counts.get(pk, 0) for pk in found)
    fitting = sum(total <= PASSAGES_MAX for total in sums)
    return dict(list(found.items())[: max(fitting, 1)])


@transaction.atomic
def _copy(copy: VersionCopy, batch: dict[uuid.UUID, str]) -> bool:
    """Copy the batch and move the cursor; return False if the claim is lost."""
    holders.copy_apart(copy.tenant.customer_id)
    copy.cursor = list(batch.values())[-1]
    if not copy.renew(cursor=copy.cursor, done=F("done") + len(batch), error=""):
        return False
    ids = list(batch)
    parameters: dict[str, Any] = {
        "ids": ids,
        "source": copy.source_id,
        "target": copy.tenant_id,
        "model": search_model.of(copy.tenant),
    }
    with connection.cursor() as cursor:
        cursor.execute(_HOLD, [ids])
        cursor.execute(_COPY_DOCUMENTS, parameters)
        new = [pk for (pk,) in cursor.fetchall()]
        cursor.execute(_COPY_CHUNKS, parameters | {"new": new})
    without = Chunk.objects.filter(document__in=new, embedding_model="").values_list("document", flat=True).distinct()
    items = [SyncItem(tenant_id=copy.tenant_id, document_id=document_id) for document_id in without]
    SyncItem.objects.bulk_create(items, ignore_conflicts=True)
    return True
