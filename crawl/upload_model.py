"""Documents that a tenant hands over as files."""

import uuid
from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from core.states import State
from knowledge.models import Document
from knowledge.models.syncing import SyncJob, SyncJobQuerySet


class UploadQuerySet(SyncJobQuerySet):  # type: ignore[override]
    def claim(self, upload_id: uuid.UUID | str) -> "Upload | None":
        upload: Upload | None = self.take({"pk": upload_id})
        return upload

    def waiting(self) -> "UploadQuerySet":
        return self.filter(state=State.QUEUED, sent_at=None)


class Upload(SyncJob):
    """A file and what became of it; the file itself is kept only until its text is taken."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    document = models.ForeignKey(Document, on_delete=models.SET_NULL, null=True, related_name="uploads")
    name = models.CharField(max_length=255)
    url = models.CharField(max_length=2000)  # of its document: where readers find it, or "upload:" and the name
    title = models.CharField(max_length=500, blank=True)
    kind = models.CharField(max_length=10)
    size = models.PositiveIntegerField()  # bytes
    body = models.BinaryField()
    error_code = models.CharField(max_length=40, blank=True)
    detail = models.CharField(max_length=200, blank=True)  # how much of it was read, if not all
    finished_at = models.DateTimeField(null=True)

    objects: ClassVar = UploadQuerySet.as_manager()

    class Meta:
        verbose_name = _("upload")
        verbose_name_plural = _("uploads")
        indexes = [
            models.Index(fields=["tenant", "created_at", "id"], name="upload_list"),
            models.Index(fields=["tenant"], name="upload_open", condition=Q(state__in=[State.QUEUED, State.RUNNING])),
        ]

    def __str__(self) -> str:
        return self.name
