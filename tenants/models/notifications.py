"""What the system tells the people of tenants, and who has been told."""

import uuid
from typing import ClassVar

from django.conf import settings
from django.contrib.auth.models import User
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from core.jobs import JobQuerySet, RetriedJob
from core.states import OPEN_STATES, State
from tenants.models.tenant import Tenant, TenantOwned, TenantOwnedQuerySet


class NotificationQuerySet(JobQuerySet["Notification"]):
    LEASE = "next_attempt_at"
    CLAIMS = "claims"


class Notification(RetriedJob):
    """A message to the members of one tenant, or of all; a task hands it out once.

    While the state is ``running``, ``next_attempt_at`` is the end of the lease.
    """

    UNCLAIMED: ClassVar = {"lease_token": None}

    class Level(models.TextChoices):
        INFO = "info", _("information")
        WARNING = "warning", _("warning")
        PROBLEM = "problem", _("problem")

    class Audience(models.TextChoices):
        OWNERS = "owners", _("owners")
        MEMBERS = "members", _("all members")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, null=True, blank=True, related_name="+")  # null: all
    audience = models.CharField(max_length=10, choices=Audience.choices, default=Audience.MEMBERS)
    level = models.CharField(max_length=10, choices=Level.choices, default=Level.INFO)
    subject = models.CharField(max_length=200)
    body = models.TextField()
    subject_fa = models.CharField(max_length=200, blank=True)  # empty: the other language will do
    body_fa = models.TextField(blank=True)
    state = models.CharField(max_length=10, choices=State.choices, default=State.QUEUED, editable=False)
    attempts = models.PositiveSmallIntegerField(default=0, editable=False)
    next_attempt_at = models.DateTimeField(default=timezone.now, editable=False)  # while running: end of the lease
    lease_token = models.UUIDField(null=True, editable=False)
    lease_until = None
    error = models.CharField(max_length=200, blank=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True, editable=False)

    objects: ClassVar = NotificationQuerySet.as_manager()

    class Meta:
        verbose_name = _("notification")
        verbose_name_plural = _("notifications")
        indexes = [
            models.Index(fields=["next_attempt_at"], condition=Q(state__in=OPEN_STATES), name="notification_due")
        ]

    def __str__(self) -> str:
        return self.subject

    def text_for(self, language: str) -> tuple[str, str]:
        """Return the subject and the body in the language, or in English if it is not written in it."""
        if language == "fa" and self.subject_fa:
            return self.subject_fa, self.body_fa or self.body
        return self.subject, self.body


class NotificationReceiptQuerySet(TenantOwnedQuerySet["NotificationReceipt"]):
    def unread_by(self, user: User) -> "NotificationReceiptQuerySet":
        return self.filter(user=user, read_at=None)


class NotificationReceipt(TenantOwned):
    """One member's copy of a notification: shown in the console until read, and e-mailed once."""

    notification = models.ForeignKey(Notification, on_delete=models.CASCADE, related_name="receipts")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    emailed_at = models.DateTimeField(null=True)
    email_error = models.CharField(max_length=100, blank=True)  # why no e-mail went out
    read_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects: ClassVar = NotificationReceiptQuerySet.as_manager()

    class Meta:
        verbose_name = _("copy of a notification")
        verbose_name_plural = _("copies of notifications")
        constraints = [
            models.UniqueConstraint(fields=["notification", "tenant", "user"], name="notification_once_per_member")
        ]
        indexes = [models.Index(fields=["user"], condition=Q(read_at=None), name="notification_unread")]

    def __str__(self) -> str:
        return f"{self.notification} → {self.user}"
