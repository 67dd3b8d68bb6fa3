"""The repair of lost doorbells and dead workers: trusts Postgres alone, runs every second in the sweeper process."""

import uuid
from datetime import timedelta

from django.db.models import Exists, F, OuterRef, Subquery
from django.db.models.functions import Now
from django.utils import timezone

from core.enqueue import publish
from core.jobs import has_forgotten, ring_each
from core.postgres.standing import AnyRow
from core.states import OPEN_STATES, State
from tenants import announcing, delivering, tasks
from tenants.models import Notification, UsageEntry, WebhookDelivery, WebhookEndpoint

LIMIT = 100
NOTIFICATION_RING_AGAIN_AFTER = timedelta(seconds=30)
COUNT_AFTER = timedelta(seconds=10)
_work = AnyRow(
    WebhookDelivery.objects.worn_out,
    lambda: WebhookDelivery.objects.filter(state__in=OPEN_STATES, next_attempt_at__lte=Now()),
    Notification.objects.worn_out,
    lambda: Notification.objects.filter(state__in=OPEN_STATES, next_attempt_at__lte=Now()),
    lambda: UsageEntry.objects.filter(counted_at=None, end_user__isnull=False, settled_at__lte=Now() - COUNT_AFTER),
)


def sweep(*, limit: int = LIMIT) -> int:
    """Ring for webhooks and notifications that are due, close and count what was left behind; return how many rows."""
    if has_forgotten("tenants"):
        WebhookEndpoint.objects.exclude(rung_at=None).update(rung_at=None)
    if not _work.exists():
        return 0
    return (
        delivering.close_worn_out(limit=limit)
        + announcing.close_worn_out(limit=limit)
        + ring_endpoints(limit=limit)
        + ring_notifications(limit=limit)
        + count_left_behind()
    )


def ring_endpoints(*, limit: int) -> int:
    """Ring once for each endpoint that has something due, however much that is: a worker takes it all in turn."""
    now = timezone.now()
    due = WebhookDelivery.objects.due(now).filter(endpoint=OuterRef("pk")).order_by("next_attempt_at")
    waiting = WebhookEndpoint.objects.open_at(now).filter(delivering.unheard_at(now), Exists(due))
    oldest_first = waiting.order_by(F("rung_at").asc(nulls_first=True))
    endpoints = list(oldest_first.values_list(Subquery(due.values("pk")[:1]), "pk", "tenant_id")[:limit])
    return ring_each(endpoints, lambda row: tasks.ring_for_delivery(*row))


def ring_notifications(*, limit: int) -> int:
    """Ring for notifications to hand out; the next ring for each comes half a minute later."""
    now = timezone.now()
    due = Notification.objects.filter(state__in=OPEN_STATES, next_attempt_at__lte=now).order_by("next_attempt_at")

    def ring(row: tuple[uuid.UUID, uuid.UUID | None]) -> bool:
        pk, tenant_id = row
        waiting = Notification.objects.filter(pk=pk, state=State.QUEUED, next_attempt_at__lte=now)
        waiting.update(next_attempt_at=now + NOTIFICATION_RING_AGAIN_AFTER)
        return publish(tasks.send_system_notification, {"notification_id": str(pk)}, tenant_id=tenant_id)

    return ring_each(due.values_list("pk", "tenant_id")[:limit], ring)


def count_left_behind() -> int:
    """Count here what no worker has counted: one statement, which needs no broker."""
    return tasks.count_questions(settled_before=timezone.now() - COUNT_AFTER)
