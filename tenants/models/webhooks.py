"""Webhooks to a tenant's own systems: where to, what happened, one row per delivery, one per attempt."""

import uuid
from datetime import datetime
from typing import ClassVar, Self

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from core.jobs import JobQuerySet, RetriedJob
from core.states import OPEN_STATES, State
from tenants.models.tenant import Tenant, TenantOwned, TenantOwnedQuerySet


class EventType(models.TextChoices):
    """Everything that a webhook may tell; docs/webhooks.md shows the payload of each."""

    QUERY_ANSWERED = "query.answered", "query.answered"
    USAGE_HOURLY = "usage.hourly", "usage.hourly"
    SYSTEM_NOTIFICATION = "system.notification", "system.notification"
    TEST = "webhook.test", "webhook.test"


class WebhookEndpointQuerySet(TenantOwnedQuerySet["WebhookEndpoint"]):
    def subscribed(self, *, tenant: Tenant, event_type: str) -> Self:
        """Endpoints, enabled or not, that ask for the type; an empty list asks for all."""
        wanted = Q(event_types=[]) | Q(event_types__contains=[event_type])
        return self.for_tenant(tenant).filter(wanted)

    def open_at(self, moment: datetime) -> Self:
        """Endpoints that may be sent to now: enabled, their tenant active, not resting."""
        rested = Q(paused_until=None) | Q(paused_until__lte=moment)
        return self.filter(rested, is_enabled=True, tenant__is_active=True)


class WebhookEndpoint(TenantOwned):
    """A URL of the tenant's that is told of events.

    Secrets are not stored: each is made from the installation's key, this id and a random salt (tenants/signing.py).
    """

    class DisabledReason(models.TextChoices):
        BY_HAND = "by_hand", _("switched off by hand")
        GONE = "gone", _("the endpoint answered 410 Gone")
        FAILING = "failing", _("no delivery worked for days")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    url = models.CharField(max_length=2000)
    description = models.CharField(max_length=200, blank=True)
    event_types = models.JSONField(default=list, blank=True)  # EventType values; empty: all
    secret_salt = models.CharField(max_length=64, editable=False)
    previous_salt = models.CharField(max_length=64, blank=True, editable=False)
    previous_valid_until = models.DateTimeField(null=True, editable=False)
    is_enabled = models.BooleanField(default=True)
    disabled_reason = models.CharField(max_length=10, choices=DisabledReason.choices, blank=True, editable=False)
    disabled_at = models.DateTimeField(null=True, editable=False)
    failing_since = models.DateTimeField(null=True, editable=False)  # nothing has arrived since
    silent_count = models.PositiveIntegerField(default=0, editable=False)  # attempts in a row without any answer
    paused_until = models.DateTimeField(null=True, editable=False)  # a rest, for all its deliveries
    rung_at = models.DateTimeField(null=True, editable=False)  # of the message that no worker has taken up yet
    created_at = models.DateTimeField(auto_now_add=True)

    objects: ClassVar = WebhookEndpointQuerySet.as_manager()

    class Meta:
        verbose_name = _("webhook endpoint")
        verbose_name_plural = _("webhook endpoints")
        indexes = [models.Index(fields=["tenant"], name="webhook_endpoint_tenant")]

    def __str__(self) -> str:
        return self.url


class WebhookEvent(TenantOwned):
    """Something that happened; its id is the ``webhook-id`` of every attempt at every endpoint."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    type = models.CharField(max_length=40, choices=EventType.choices)
    key = models.CharField(max_length=100, blank=True)  # names what happened: the same key is never told twice
    payload = models.JSONField()
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        verbose_name = _("webhook event")
        verbose_name_plural = _("webhook events")
        constraints = [
            models.UniqueConstraint(fields=["tenant", "type", "key"], condition=~Q(key=""), name="webhook_event_once")
        ]
        indexes = [models.Index(fields=["tenant", "created_at"], name="webhook_event_range")]

    def __str__(self) -> str:
        return f"{self.type} {self.id}"


class WebhookDeliveryQuerySet(TenantOwnedQuerySet["WebhookDelivery"], JobQuerySet["WebhookDelivery"]):  # type: ignore[override]
    LEASE = "next_attempt_at"
    CLAIMS = "claims"
    CLAIMED_WITH = ("event", "endpoint")

    def free(self) -> Self:
        return self.due(timezone.now())

    def due(self, moment: datetime) -> Self:
        """Deliveries to attempt now: waiting and due, or left behind by a worker that died."""
        return self.filter(state__in=OPEN_STATES, next_attempt_at__lte=moment)

    def in_flight(self, moment: datetime) -> Self:
        return self.filter(state=State.RUNNING, next_attempt_at__gt=moment)


class WebhookDelivery(TenantOwned, RetriedJob):
    """One event's way to one endpoint.

    While the state is ``running``, ``next_attempt_at`` is the end of the lease.
    """

    UNCLAIMED: ClassVar = {"lease_token": None}

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    event = models.ForeignKey(WebhookEvent, on_delete=models.CASCADE, related_name="deliveries")
    endpoint = models.ForeignKey(WebhookEndpoint, on_delete=models.CASCADE, related_name="deliveries")
    state = models.CharField(max_length=10, choices=State.choices, default=State.QUEUED)
    attempts = models.PositiveSmallIntegerField(default=0)  # since queued or replayed
    next_attempt_at = models.DateTimeField(default=timezone.now)
    lease_until = None
    last_status = models.PositiveSmallIntegerField(null=True)
    last_error = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True)

    objects: ClassVar = WebhookDeliveryQuerySet.as_manager()

    class Meta:
        verbose_name = _("webhook delivery")
        verbose_name_plural = _("webhook deliveries")
        constraints = [models.UniqueConstraint(fields=["event", "endpoint"], name="webhook_delivery_once")]
        indexes = [
            models.Index(
                fields=["endpoint", "next_attempt_at"],
                condition=Q(state__in=OPEN_STATES),
                name="webhook_delivery_open",
            ),
            models.Index(fields=["endpoint", "created_at"], name="webhook_delivery_log"),
            models.Index(fields=["tenant", "created_at", "id"], name="webhook_delivery_list"),
        ]

    def __str__(self) -> str:
        return f"{self.event_id} → {self.endpoint_id}"


class WebhookAttempt(TenantOwned):
    """One request of a delivery and what came back."""

    delivery = models.ForeignKey(WebhookDelivery, on_delete=models.CASCADE, related_name="attempt_log")
    number = models.PositiveSmallIntegerField()
    status = models.PositiveSmallIntegerField(null=True)
    error = models.CharField(max_length=200, blank=True)
    response_excerpt = models.CharField(max_length=500, blank=True)
    duration_ms = models.PositiveIntegerField()
    started_at = models.DateTimeField()

    class Meta:
        verbose_name = _("webhook attempt")
        verbose_name_plural = _("webhook attempts")
        ordering = ["started_at"]
        indexes = [models.Index(fields=["delivery", "started_at"], name="webhook_attempt_log")]

    def __str__(self) -> str:
        return f"{self.number}: {self.status or self.error}"
