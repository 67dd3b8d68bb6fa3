"""What a tenant's assistant knows: documents and their chunks."""

import uuid
from enum import Enum
from typing import Any, ClassVar, Self

from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchVectorField
from django.db import models
from django.db.models import F, Q
from django.db.models.expressions import RawSQL
from django.utils.translation import gettext_lazy as _
from pgvector.django import VectorField

from tenants.models import KnowledgeQuerySet, TenantOwned


class KnowledgeRow(TenantOwned):
    """A part of one version of a tenant's knowledge: ``tenant`` is the row that holds the version."""

    objects: ClassVar = KnowledgeQuerySet.as_manager()

    class Meta:
        abstract = True


class Document(KnowledgeRow):
    """One page's text, as it was last read. ``url`` names it within the version."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    url = models.CharField(max_length=2000)
    title = models.CharField(max_length=500, blank=True)
    language = models.CharField(max_length=8, blank=True)
    content = models.TextField()  # Markdown
    content_hash = models.CharField(max_length=64)
    fetched_at = models.DateTimeField()
    excluded_at = models.DateTimeField(null=True)  # its passages were deleted; only an explicit resync makes them again
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        verbose_name = _("document")
        verbose_name_plural = _("documents")
        constraints = [models.UniqueConstraint(fields=["tenant", "url"], name="document_once_per_tenant")]

    def __str__(self) -> str:
        return self.title or self.url


class Place(Enum):
    """Where a passage's vector stands: in use, or waiting for the switch to its model."""

    NOW = ("embedding", "embedding_model")
    NEXT = ("next_embedding", "next_embedding_model")

    @property
    def vector(self) -> str:
        return self.value[0]

    @property
    def model(self) -> str:
        return self.value[1]

    def put(self, chunk: "Chunk", model: str, vector: list[float] | None) -> None:
        setattr(chunk, self.vector, vector)
        setattr(chunk, self.model, model)


# What the word index holds of a passage: its words, its tenant's id, so that a search meets no other tenant's passages
# in the index itself, and on one passage in so many the mark of a sample. A query must repeat it word for word.
SAMPLED_EVERY = 256
INDEXED_WORDS = (
    f"(search_vector || array_to_tsvector(CASE WHEN id %% {SAMPLED_EVERY} = 0 "
    "THEN ARRAY[tenant_id::text, tenant_id::text || '~'] ELSE ARRAY[tenant_id::text] END))"
)


class ChunkQuerySet(KnowledgeQuerySet["Chunk"]):
    def without_vector(self, model: str) -> Self:
        """Return the chunks that this embedding model has not seen yet."""
        return self.exclude(embedding_model=model).exclude(next_embedding_model=model)

    def with_vector(self, model: Any) -> Self:
        """Return the chunks that have this model's vector; ``model`` is its name, or an expression."""
        now = Q(embedding_model=model, embedding__isnull=False)
        return self.filter(now | Q(next_embedding_model=model, next_embedding__isnull=False))

    def searchable(self) -> Self:
        """Return the chunks with a vector of the model that their tenant is searched with."""
        return self.with_vector(F("tenant__search_model__model"))


class Chunk(KnowledgeRow):
    """A passage of a document, the unit of search; the client's table ``tenant_knowledge``.

    ``embedding`` has no fixed dimension: ``embedding_model`` says which model made it, and is empty until one did.
    ``next_embedding`` is the vector of the model that the tenant is changing to, made beside the one in use; without a
    vector but with its model, that model refused the text. ``content_hash`` covers what is embedded, heading path
    included, so equal hashes may share a vector.
    """

    LARGE = ("embedding", "next_embedding", "search_vector")  # not to be read along

    document = models.ForeignKey(Document, on_delete=models.CASCADE, related_name="chunks")
    chunk_index = models.IntegerField(db_default=0)
    heading_path = models.TextField(blank=True)  # "Guide › Install", outermost first
    content = models.TextField()
    content_hash = models.CharField(max_length=64, blank=True)
    embedding = VectorField(null=True)
    embedding_model = models.CharField(max_length=200, blank=True)
    next_embedding = VectorField(null=True)
    next_embedding_model = models.CharField(max_length=200, blank=True, default="", db_default="")
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
            GinIndex(RawSQL(INDEXED_WORDS, []), name="chunk_tenant_words"),  # noqa: S611 -- a constant
            models.Index(
                fields=["tenant", "next_embedding_model"],
                name="chunk_next_model",
                condition=~Q(next_embedding_model=""),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.document_id} #{self.chunk_index}"


class KnowledgeVersion(KnowledgeRow):
    """A part of a tenant's count of changes; the sum over its rows is the version (knowledge/version.py)."""

    changes = models.PositiveBigIntegerField(default=0)

    class Meta:
        verbose_name = _("knowledge version")
        verbose_name_plural = _("knowledge versions")

    def __str__(self) -> str:
        return f"{self.tenant}: {self.changes}"


class Refetch(KnowledgeRow):
    """The last wish that a document's page be read again soon (knowledge/refetching.py); the crawler takes it."""

    class Reason(models.TextChoices):
        DISLIKED = "disliked", _("an answer from it was disliked")
        OLD = "old", _("an answer from it rests on an old reading")

    document = models.OneToOneField(Document, on_delete=models.CASCADE, primary_key=True, related_name="refetch")
    reason = models.CharField(max_length=10, choices=Reason.choices)
    asked_at = models.DateTimeField()
    taken_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name = _("wish to read a page again")
        verbose_name_plural = _("wishes to read a page again")
        indexes = [models.Index(fields=["asked_at"], condition=Q(taken_at=None), name="refetch_waiting")]

    def __str__(self) -> str:
        return f"{self.document_id}: {self.reason}"
