"""Taking away webhooks' rows that are long over, and stored answers of idempotent requests.

Every step takes the most rows that it may touch, and returns how many deliveries, events or requests it were.
"""

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from core.batches import Step
from tenants import idempotency
from tenants.models import WebhookDelivery

# By endpoint, along the index of its log. What waits for an endpoint that is switched off will not be sent either:
# when it is switched on, replaying sends what is left.
_OLD_DELIVERIES = """
    SELECT delivery.id
    FROM tenants_webhookendpoint endpoint
    CROSS JOIN LATERAL (
        SELECT id FROM tenants_webhookdelivery
        WHERE endpoint_id = endpoint.id AND created_at < %(before)s
            AND (state IN ('done', 'failed') AND finished_at < %(before)s
                OR state = 'queued' AND NOT endpoint.is_enabled)
        ORDER BY created_at LIMIT %(limit)s
    ) delivery
    LIMIT %(limit)s
"""
_OLD_EVENTS = """
    DELETE FROM tenants_webhookevent WHERE id = ANY(ARRAY(
        SELECT event.id
        FROM tenants_tenant tenant
        CROSS JOIN LATERAL (
            SELECT id FROM tenants_webhookevent event
            WHERE tenant_id = tenant.id AND created_at < %(before)s
                AND NOT EXISTS (SELECT FROM tenants_webhookdelivery WHERE event_id = event.id)
            ORDER BY created_at LIMIT %(limit)s
            FOR UPDATE SKIP LOCKED
        ) event
        LIMIT %(limit)s
    ))
"""


@transaction.atomic
def forget_old_deliveries(limit: int) -> int:
    """Delete deliveries that ended long ago, with the log of their attempts."""
    with connection.cursor() as cursor:
        cursor.execute(_OLD_DELIVERIES, _values(limit))
        ids = [delivery_id for (delivery_id,) in cursor.fetchall()]
    # Locked before they go: a replay meanwhile has made some of them new.
    deliveries = WebhookDelivery.objects.filter(pk__in=ids).exclude(state="running")
    free = list(deliveries.select_for_update(skip_locked=True).values_list("pk", "state", "endpoint__is_enabled"))
    over = [pk for pk, state, is_enabled in free if state != "queued" or not is_enabled]
    WebhookDelivery.objects.filter(pk__in=over).delete()
    return len(over)


@transaction.atomic
def forget_old_events(limit: int) -> int:
    """Delete events that are as old and have no deliveries (any more): they cannot be replayed from then on."""
    with connection.cursor() as cursor:
        cursor.execute(_OLD_EVENTS, _values(limit))
        return int(cursor.rowcount)


def forget_old_requests(limit: int) -> int:
    """Delete stored answers of idempotent requests past their day."""
    return idempotency.forget_old(limit=limit)


CACHE: dict[str, Step] = {"idempotent_answers": forget_old_requests}
TASKS: dict[str, Step] = {
    "webhook_deliveries": forget_old_deliveries,
    "webhook_events": forget_old_events,
}


def _values(limit: int) -> dict[str, Any]:
    return {"before": timezone.now() - timedelta(days=settings.WEBHOOK_KEEP_DAYS), "limit": limit}
