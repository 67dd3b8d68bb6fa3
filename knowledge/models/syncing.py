"""The work that keeps vectors in step with the text: the queue of documents, full syncs, deletions."""

import uuid
from datetime import timedelta
from typing import Any, ClassVar, Self

from django.conf import settings
from django.db import models, transaction
from django.db.models import F, Q
from django.db.models.functions import Greatest, Now
from django.utils.translation import gettext_lazy as _

from core.jobs import CLAIMS_MAX, JobQuerySet, RetriedJob, doubled_gap, lease_end
from core.states import OPEN_STATES, State
from knowledge.models.documents import Document, KnowledgeRow, Place
from tenants.models import KnowledgeQuerySet, Tenant, TenantOwned, TenantOwnedQuerySet

RESEND_GAP_MAX = timedelta(minutes=5)


def resend_gap(waited: Any) -> Any:
    """Return the pause before a message is sent again that nobody took."""
    first = timedelta(seconds=settings.KNOWLEDGE_SYNC_RESEND_AFTER_SECONDS)
    return doubled_gap(waited, first=first, most=RESEND_GAP_MAX)


class SyncJobQuerySet(TenantOwnedQuerySet[Any], JobQuerySet[Any]):  # type: ignore[override]
    CLAIMS = "claims"

    def free(self) -> Self:
        return super().free().filter(not_before__lte=Now())

    def unanswered(self) -> Self:
        """Return the jobs whose message nobody took for long enough."""
        waited = F("sent_at") - Greatest("created_at", "not_before")
        return self.filter(state=State.QUEUED, sent_at__lt=Now() - resend_gap(waited))

    def repair(self, *, limit: int, **failed: Any) -> int:
        """Free the jobs of dead workers and of lost messages; return how many.

        Those that killed every worker are closed, ``failed`` being what is written besides.
        """
        stuck = self.lost() | self.unanswered()
        unclaimed = self.model.UNCLAIMED
        with transaction.atomic():
            ids = list(stuck.select_for_update(skip_locked=True).values_list("pk", flat=True)[:limit])
            jobs = self.filter(pk__in=ids)
            jobs.worn_out().update(state=State.FAILED, **unclaimed, **failed)
            jobs.exclude(state=State.FAILED).update(state=State.QUEUED, **unclaimed)
        return len(ids)


class SyncJob(TenantOwned, RetriedJob):
    """Work on vectors: ``sent_at`` is set while a message is queued, ``attempts`` counts claims since progress."""

    UNCLAIMED: ClassVar = RetriedJob.UNCLAIMED | {"sent_at": None}

    state = models.CharField(max_length=10, choices=State.choices, default=State.QUEUED)
    attempts = models.PositiveSmallIntegerField(default=0)
    not_before = models.DateTimeField(db_default=Now())
    sent_at = models.DateTimeField(null=True)
    error = models.TextField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects: ClassVar = SyncJobQuerySet.as_manager()

    class Meta:
        abstract = True

    def renew(self, **progress: Any) -> bool:
        """Hold the job for another lease, having made progress; return False if the claim is lost."""
        self.attempts = 0
        return bool(self.holds().update(lease_until=lease_end(), attempts=0, claims=0, **progress))


class SyncItemQuerySet(KnowledgeQuerySet[Any], SyncJobQuerySet):  # type: ignore[override]
    def claim(self, document_id: uuid.UUID | str) -> "SyncItem | None":
        few = self.filter(attempts__lt=settings.KNOWLEDGE_SYNC_MAX_ATTEMPTS)
        item: SyncItem | None = few.take({"document_id": document_id})
        return item


class SyncItem(SyncJob):
    """A document whose vectors are to be made, one row per document at most; a tenant has only a few sent at a time."""

    document = models.OneToOneField(Document, on_delete=models.CASCADE, related_name="sync_item")

    objects: ClassVar = SyncItemQuerySet.as_manager()  # type: ignore[assignment]  # a subclass all the same

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


class Stage(models.TextChoices):
    EMBEDDING = "embedding", _("embedding")  # vectors are made; searches do not see them yet
    MOVING = "moving", _("moving")  # the tenant has been switched; the new vectors take the old ones' place


class FullSyncQuerySet(KnowledgeQuerySet[Any], SyncJobQuerySet):  # type: ignore[override]
    """What has been switched must be moved: it never gives up."""

    def worn_out(self) -> Self:
        return super().worn_out().exclude(stage=Stage.MOVING)

    def takeable(self) -> Self:
        return self.free().filter(Q(claims__lt=CLAIMS_MAX) | Q(stage=Stage.MOVING))

    def claim(self, run_id: uuid.UUID | str) -> "FullSync | None":
        few = self.filter(Q(attempts__lt=settings.KNOWLEDGE_FULL_SYNC_MAX_ATTEMPTS) | Q(stage=Stage.MOVING))
        run: FullSync | None = few.take({"pk": run_id})
        return run

    def open(self) -> Self:
        return self.filter(state__in=OPEN_STATES)

    def embedding(self) -> Self:
        return self.open().filter(stage=Stage.EMBEDDING)


class FullSync(SyncJob):
    """All of a tenant's vectors made anew; at most one open per tenant. Its id is the id of its Celery task.

    ``cursor`` is the last passage that is done. ``total``, ``done`` and ``failed`` count passages; a failed one is
    one that the model refuses, and is found by its words alone.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    model = models.CharField(max_length=200)
    previous_model = models.CharField(max_length=200)
    stage = models.CharField(max_length=10, choices=Stage.choices, default=Stage.EMBEDDING)
    batch_size = models.PositiveIntegerField()
    total = models.PositiveIntegerField(default=0)
    done = models.PositiveIntegerField(default=0)
    failed = models.PositiveIntegerField(default=0)
    cursor = models.BigIntegerField(default=0)
    last_chunk_id = models.BigIntegerField(default=0)
    switched_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    objects: ClassVar = FullSyncQuerySet.as_manager()  # type: ignore[assignment]  # a subclass all the same

    class Meta:
        verbose_name = _("full sync")
        verbose_name_plural = _("full syncs")
        constraints = [
            models.UniqueConstraint(
                fields=["tenant"], name="full_sync_one_open", condition=Q(state__in=[State.QUEUED, State.RUNNING])
            )
        ]
        indexes = [models.Index(fields=["tenant", "-created_at"], name="full_sync_newest")]

    def __str__(self) -> str:
        return f"{self.tenant_id} → {self.model}: {self.done}/{self.total} {self.state}"

    @property
    def changes_model(self) -> bool:
        return self.model != self.previous_model

    @property
    def place(self) -> Place:
        """Return where its vectors are put: beside those of the old model, or in place of the same model's."""
        return Place.NEXT if self.changes_model else Place.NOW


class VersionCopyQuerySet(SyncJobQuerySet):  # type: ignore[override]
    def claim(self, copy_id: uuid.UUID | str) -> "VersionCopy | None":
        few = self.filter(attempts__lt=settings.KNOWLEDGE_SYNC_MAX_ATTEMPTS)
        copy: VersionCopy | None = few.take({"pk": copy_id})
        return copy


class VersionCopy(SyncJob):
    """The documents of ``source``, the live version, copied into another: all, or those that no crawl would bring.

    ``cursor`` is the URL of the last that is done; ``total`` and ``done`` count documents.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    source = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="+")
    is_whole = models.BooleanField()
    total = models.PositiveIntegerField()
    done = models.PositiveIntegerField(default=0)
    cursor = models.CharField(max_length=2000, blank=True)
    finished_at = models.DateTimeField(null=True)

    objects: ClassVar = VersionCopyQuerySet.as_manager()

    class Meta:
        verbose_name = _("copy of a version")
        verbose_name_plural = _("copies of versions")
        constraints = [models.UniqueConstraint(fields=["tenant"], name="version_copy_once")]
        indexes = [
            models.Index(
                fields=["not_before"],
                name="version_copy_open",
                condition=Q(state__in=[State.QUEUED, State.RUNNING]),
            )
        ]

    def __str__(self) -> str:
        return f"{self.tenant_id}: {self.done}/{self.total} {self.state}"

    @property
    def left(self) -> int:
        """Return how many documents are still to come, at least one until it is over."""
        return 0 if self.state == State.DONE else max(self.total - self.done, 1)


class SearchModel(KnowledgeRow):
    """The embedding model whose vectors a tenant's searches compare (knowledge/search_model.py)."""

    tenant = models.OneToOneField(
        Tenant, on_delete=models.CASCADE, primary_key=True, related_name="search_model", verbose_name=_("tenant")
    )
    model = models.CharField(max_length=200)

    class Meta:
        verbose_name = _("search model")
        verbose_name_plural = _("search models")

    def __str__(self) -> str:
        return self.model


class EmbeddingDeletion(KnowledgeRow):
    """A document's passages and vectors, deleted on demand: what was asked, and what was done. Its id is the task's."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    document = models.ForeignKey(Document, on_delete=models.SET_NULL, null=True, related_name="+")
    url = models.CharField(max_length=2000)  # outlives the document
    state = models.CharField(max_length=10, choices=State.choices, default=State.QUEUED)
    chunk_count = models.PositiveIntegerField(default=0)
    sent_at = models.DateTimeField(db_default=Now())
    created_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name = _("deletion of embeddings")
        verbose_name_plural = _("deletions of embeddings")
        constraints = [
            models.UniqueConstraint(
                fields=["document"], name="embedding_deletion_one_open", condition=Q(state=State.QUEUED)
            )
        ]
        indexes = [models.Index(fields=["sent_at"], name="embedding_deletion_waiting", condition=Q(state=State.QUEUED))]

    def __str__(self) -> str:
        return f"{self.url} {self.state}"
