"""What a tenant's assistant knows: documents, their chunks, and the queue that keeps vectors in step."""

import uuid

from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchVectorField
from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _
from pgvector.django import VectorField

from core.states import State
from tenants.models import TenantOwned


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


class Chunk(TenantOwned):
    """A passage of a document, the unit of search; the client's table ``tenant_knowledge``.

    ``embedding`` has no fixed dimension: ``embedding_model`` says which model made it, and is empty until one did.
    """

    document = models.ForeignKey(Document, on_delete=models.CASCADE, related_name="chunks")
    chunk_index = models.IntegerField(null=True)
    heading_path = models.TextField(blank=True)  # "Guide › Install", outermost first
    content = models.TextField()
    content_hash = models.CharField(max_length=64, blank=True)
    embedding = VectorField(null=True)
    embedding_model = models.CharField(max_length=200, blank=True)
    search_vector = SearchVectorField(null=True)

    class Meta:
        db_table = "tenant_knowledge"
        verbose_name = _("chunk")
        verbose_name_plural = _("chunks")
        indexes = [
            models.Index(fields=["document", "chunk_index"], name="chunk_order"),
            GinIndex(fields=["search_vector"], name="chunk_words"),
        ]

    def __str__(self) -> str:
        return f"{self.document_id} #{self.chunk_index}"


class SyncItem(TenantOwned):
    """A document whose vectors are to be made: the row is the job, one per document at most."""

    document = models.OneToOneField(Document, on_delete=models.CASCADE, related_name="sync_item")
    state = models.CharField(max_length=10, choices=State.choices, default=State.QUEUED)
    attempts = models.PositiveSmallIntegerField(default=0)
    not_before = models.DateTimeField(db_default=Now())
    sent_at = models.DateTimeField(null=True)
    lease_until = models.DateTimeField(null=True)
    error = models.TextField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name = _("sync item")
        verbose_name_plural = _("sync items")
        indexes = [models.Index(fields=["state", "not_before"], name="sync_item_due")]

    def __str__(self) -> str:
        return f"{self.document_id} {self.state}"
