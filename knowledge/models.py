"""What a tenant's assistant knows: documents, their chunks, and the queue that keeps vectors in step."""

import uuid
from datetime import timedelta
from typing import ClassVar, Self

from django.conf import settings
from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchVectorField
from django.db import models
from django.db.models import F, Q
from django.db.models.expressions import CombinedExpression
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _
from pgvector.django import VectorField

from core.states import State
from tenants.models import TenantOwned, TenantOwnedQuerySet


class Document(TenantOwned):
    """One page's text, as it was last read. ``url`` names it within the tenant."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    url = models.CharField(max_length=2000)
    title = models.CharField(max_length=500, blank=True)
    language = models.CharField(max_length=8, blank=True)
    content = models.TextField()  # Markdown
    content_hash = models.CharField(max_length=64)
    fetched_at = models.DateTimeField()
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        verbose_name = _("document")
        verbose_name_plural = _("documents")
        constraints = [models.UniqueConstraint(fields=["tenant", "url"], name="document_once_per_tenant")]

    def __str__(self) -> str:
        return self.title or self.url


class ChunkQuerySet(TenantOwnedQuerySet["Chunk"]):
    def without_vector(self, model: str) -> Self:
        """Return the chunks that this embedding model has not seen yet."""
        return self.exclude(embedding_model=model)

    def with_vector(self, model: str) -> Self:
        return self.filter(embedding_model=model, embedding__isnull=False)


class Chunk(TenantOwned):
    """A passage of a document, the unit of search; the client's table ``tenant_knowledge``.

    ``embedding`` has no fixed dimension: ``embedding_model`` says which model made it, and is empty until one did.
    ``content_hash`` covers what is embedded, heading path included, so equal hashes may share a vector.
    """

    document = models.ForeignKey(Document, on_delete=models.CASCADE, related_name="chunks")
    chunk_index = models.IntegerField(db_default=0)
    heading_path = models.TextField(blank=True)  # "Guide › Install", outermost first
    content = models.TextField()
    content_hash = models.CharField(max_length=64, blank=True)
    embedding = VectorField(null=True)
    embedding_model = models.CharField(max_length=200, blank=True)
    search_vector = SearchVectorField(null=True)  # built by knowledge/indexing.py, not by a text search configuration
    word_count = models.PositiveIntegerField(default=0)

    objects: ClassVar = ChunkQuerySet.as_manager()

    class Meta:
        db_table = "tenant_knowledge"
        verbose_name = _("chunk")
        verbose_name_plural = _("chunks")
        indexes = [
            models.Index(fields=["document", "chunk_index"], name="chunk_order"),
            models.Index(fields=["tenant", "content_hash"], name="chunk_same_text"),
            GinIndex(fields=["search_vector"], name="chunk_words"),
        ]

    def __str__(self) -> str:
        return f"{self.document_id} #{self.chunk_index}"


def lease_end() -> CombinedExpression:
    """Return when a lease taken now ends, by the database's clock, the only one all workers share."""
    return Now() + timedelta(seconds=settings.KNOWLEDGE_SYNC_LEASE_SECONDS)


class SyncItemQuerySet(TenantOwnedQuerySet["SyncItem"]):
    def claim(self, document_id: uuid.UUID | str) -> "SyncItem | None":
        """Take the document's job for this worker, or return None if it is not free or not due.

        One UPDATE decides, so two deliveries of a message cannot both win. The token fences every later write.
        """
        free = Q(state=State.QUEUED, not_before__lte=Now()) | Q(state=State.RUNNING, lease_until__lt=Now())
        token = uuid.uuid4()
        won = self.filter(free, document_id=document_id, attempts__lt=settings.KNOWLEDGE_SYNC_MAX_ATTEMPTS).update(
            state=State.RUNNING,
            lease_token=token,
            lease_until=lease_end(),
            attempts=F("attempts") + 1,
        )
        return self.select_related("tenant").filter(lease_token=token).first() if won else None

    def lost(self) -> Self:
        """Return the jobs whose worker died: the lease ran out."""
        return self.filter(state=State.RUNNING, lease_until__lt=Now())

    def unanswered(self) -> Self:
        """Return the jobs whose message nobody took within ``KNOWLEDGE_SYNC_RESEND_AFTER_SECONDS``."""
        before = Now() - timedelta(seconds=settings.KNOWLEDGE_SYNC_RESEND_AFTER_SECONDS)
        return self.filter(state=State.QUEUED, sent_at__lt=before)


class SyncItem(TenantOwned):
    """A document whose vectors are to be made: the row is the job, one per document at most.

    ``sent_at`` is set while a message for it is on the queue; a tenant has only a few such at a time.
    ``attempts`` counts claims since the last progress.
    """

    document = models.OneToOneField(Document, on_delete=models.CASCADE, related_name="sync_item")
    state = models.CharField(max_length=10, choices=State.choices, default=State.QUEUED)
    attempts = models.PositiveSmallIntegerField(default=0)
    not_before = models.DateTimeField(db_default=Now())
    sent_at = models.DateTimeField(null=True)
    lease_until = models.DateTimeField(null=True)
    lease_token = models.UUIDField(null=True)
    error = models.TextField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects: ClassVar = SyncItemQuerySet.as_manager()

    class Meta:
        verbose_name = _("sync item")
        verbose_name_plural = _("sync items")
        indexes = [
            models.Index(
                fields=["tenant", "not_before"],
                name="sync_item_waiting",
                condition=Q(state=State.QUEUED, sent_at__isnull=True),
            ),
            models.Index(
                fields=["tenant"],
                name="sync_item_sent",
                condition=Q(state=State.QUEUED, sent_at__isnull=False) | Q(state=State.RUNNING),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.document_id} {self.state}"

    def holds(self) -> "models.QuerySet[SyncItem]":
        """Return the row as long as this claim is the one that holds it; an update through it is fenced."""
        return SyncItem.objects.filter(pk=self.pk, state=State.RUNNING, lease_token=self.lease_token)

    def renew(self) -> bool:
        """Hold the job for another lease, having made progress; return False if the claim is lost."""
        self.attempts = 0
        return bool(self.holds().update(lease_until=lease_end(), attempts=0))


class KnowledgeVersion(TenantOwned):
    """A part of a tenant's count of changes; the sum over its rows is the version (knowledge/version.py)."""

    changes = models.PositiveBigIntegerField(default=0)

    class Meta:
        verbose_name = _("knowledge version")
        verbose_name_plural = _("knowledge versions")

    def __str__(self) -> str:
        return f"{self.tenant}: {self.changes}"
