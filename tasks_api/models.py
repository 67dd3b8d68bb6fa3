"""The ledger of tasks: a row for each that was published, and where it stands.

It is what operators and clients look at. What the product decides from are the rows of the work itself.
"""

import uuid
from typing import Any, ClassVar, Self

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from tenants.models import Tenant


class TaskState(models.TextChoices):
    SCHEDULED = "scheduled", _("scheduled")  # published, not to start before `eta`
    QUEUED = "queued", _("queued")
    RUNNING = "running", _("running")
    DONE = "done", _("done")
    FAILED = "failed", _("failed")
    REVOKED = "revoked", _("revoked")


PROOFS_KEPT = 100
OPEN_STATES = (TaskState.SCHEDULED, TaskState.QUEUED, TaskState.RUNNING)


class TaskRunQuerySet(models.QuerySet["TaskRun"]):
    def for_tenant(self, tenant: Tenant) -> Self:
        return self.filter(tenant=tenant)

    def open(self) -> Self:
        return self.filter(state__in=OPEN_STATES)

    def request_revoke(self, task_id: uuid.UUID) -> bool:
        """Note that the task shall not go on; what has not started ends at once. False if it is over already."""
        now = timezone.now()
        waiting = self.filter(pk=task_id, state__in=(TaskState.SCHEDULED, TaskState.QUEUED))
        if waiting.update(state=TaskState.REVOKED, revoke_requested_at=now, finished_at=now):
            return True
        running = self.filter(pk=task_id, state=TaskState.RUNNING)
        return bool(running.update(revoke_requested_at=models.functions.Coalesce("revoke_requested_at", now)))


class IsolationProofQuerySet(models.QuerySet["IsolationProof"]):
    def keep(self, **values: Any) -> "IsolationProof":
        """Add a proof and forget all but the newest `PROOFS_KEPT`."""
        proof = self.create(**values)
        kept = self.order_by("-created_at").values("pk")[:PROOFS_KEPT]
        self.exclude(pk__in=kept).delete()
        return proof


class TaskRun(models.Model):
    """One task from its publication to its end; the id is Celery's. Without a tenant it is the platform's."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(
        Tenant, on_delete=models.CASCADE, null=True, blank=True, related_name="+", verbose_name=_("tenant")
    )
    name = models.CharField(max_length=150)
    queue = models.CharField(max_length=60)
    state = models.CharField(max_length=10, choices=TaskState.choices, default=TaskState.QUEUED)
    arguments = models.JSONField(default=dict)  # ids and numbers; anything else is stored as null
    eta = models.DateTimeField(null=True)
    retries = models.PositiveIntegerField(default=0)
    attempts = models.PositiveIntegerField(default=0)  # how often a worker started it
    worker = models.CharField(max_length=200, blank=True)
    worker_boot = models.UUIDField(null=True)  # which life of that worker
    error = models.CharField(max_length=500, blank=True)
    request_id = models.CharField(max_length=64, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    queued_at = models.DateTimeField(default=timezone.now)  # last publication
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    revoke_requested_at = models.DateTimeField(null=True)

    objects: ClassVar = TaskRunQuerySet.as_manager()

    class Meta:
        verbose_name = _("task")
        verbose_name_plural = _("tasks")
        indexes = [
            models.Index(
                fields=["tenant", "-created_at", "-id"],
                condition=Q(state__in=OPEN_STATES),
                name="task_run_open_of_tenant",
            ),
            models.Index(fields=["-created_at", "-id"], condition=Q(state__in=OPEN_STATES), name="task_run_open"),
            models.Index(fields=["tenant", "-created_at", "-id"], name="task_run_of_tenant"),
            models.Index(fields=["-created_at", "-id"], name="task_run_newest"),
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.id}"


class IsolationProof(models.Model):
    """What `manage.py prove_isolation` measured: whether chat waits for background work on this installation.

    ``measured`` holds ``idle`` and ``loaded``: {asked, answered, wait_ms, first_token_ms: {p50, p95, p99}}; it is empty
    where workers were missing.
    """

    is_kept = models.BooleanField(_("promise kept"))
    reason = models.CharField(_("reason"), max_length=500, blank=True)  # of a broken promise
    plan = models.JSONField(_("plan"))
    measured = models.JSONField(_("measured"))
    seconds = models.FloatField(_("seconds"))
    created_at = models.DateTimeField(_("time"), auto_now_add=True)

    objects: ClassVar = IsolationProofQuerySet.as_manager()

    class Meta:
        verbose_name = _("proof of isolation")
        verbose_name_plural = _("proofs of isolation")

    def __str__(self) -> str:
        return f"{self.created_at:%Y-%m-%d %H:%M}"

    def wait_p99_ms(self, load: str) -> float | None:
        """Return the p99 of the waits measured ``idle`` or ``loaded``."""
        value: float | None = self.measured.get(load, {}).get("wait_ms", {}).get("p99")
        return value
