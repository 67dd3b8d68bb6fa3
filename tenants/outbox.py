"""The outbox of webhooks: events and their deliveries, written in the transaction of what they tell of."""

import json
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django.db import connection

from core.postgres import prepared
from tenants.models import Tenant, WebhookDelivery, WebhookEndpoint, WebhookEvent

# As `WebhookEndpointQuerySet.subscribed` says; by hand, because every answer asks.
_IS_HEARD = """
    SELECT EXISTS (
        SELECT FROM tenants_webhookendpoint
        WHERE tenant_id = %s AND (event_types = '[]' OR event_types @> %s)
    )
"""


def is_heard(*, tenant: Tenant, type: str) -> bool:  # noqa: A002 -- the event's own word
    """Tell whether any endpoint of the tenant, enabled or not, asks for the type."""
    with connection.cursor() as cursor:
        prepared.execute(cursor, _IS_HEARD, [tenant.pk, json.dumps([type])])
        return bool(cursor.fetchone()[0])


def record_event(*, tenant: Tenant, type: str, payload: dict[str, Any], key: str = "") -> WebhookEvent | None:  # noqa: A002 -- the event's own word
    """Write the event and a delivery for each enabled endpoint that asks for it; None if no endpoint at all asks.

    A second call with the same ``key`` returns the event of the first. Endpoints that are disabled now can be sent
    the event later, by a replay.
    """
    endpoints = list(WebhookEndpoint.objects.subscribed(tenant=tenant, event_type=type))
    if not endpoints:
        return None
    if key:
        event, created = WebhookEvent.objects.get_or_create(
            tenant=tenant, type=type, key=key, defaults={"payload": payload}
        )
    else:
        event, created = WebhookEvent.objects.create(tenant=tenant, type=type, payload=payload), True
    if created:
        add_deliveries(event, (endpoint for endpoint in endpoints if endpoint.is_enabled))
    return event


def add_deliveries(event: WebhookEvent, endpoints: Iterable[WebhookEndpoint]) -> None:
    """Queue the event for those of the endpoints that have no delivery of it yet."""
    rows = [WebhookDelivery(tenant_id=event.tenant_id, event=event, endpoint=endpoint) for endpoint in endpoints]
    WebhookDelivery.objects.bulk_create(rows, ignore_conflicts=True)


def add_deliveries_of(events: Iterable[WebhookEvent], endpoint: WebhookEndpoint) -> None:
    """Queue those of the events for the endpoint that it has no delivery of yet."""
    rows = [WebhookDelivery(tenant_id=event.tenant_id, event=event, endpoint=endpoint) for event in events]
    WebhookDelivery.objects.bulk_create(rows, ignore_conflicts=True, batch_size=1000)


def event_body(event: WebhookEvent) -> str:
    """Return what is sent and signed: the same text at every attempt."""
    body = {"type": event.type, "timestamp": event.created_at.isoformat(), "data": event.payload}
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def prune(*, now: datetime, older_than: timedelta, limit: int) -> int:
    """Delete up to ``limit`` old events whose deliveries are all over, with those and their log; return how many."""
    old = WebhookEvent.objects.filter(created_at__lt=now - older_than).exclude(deliveries__finished_at=None)
    undelivered = WebhookEvent.objects.filter(created_at__lt=now - older_than, deliveries=None)
    ids = list((old | undelivered).distinct().values_list("pk", flat=True)[:limit])
    WebhookEvent.objects.filter(pk__in=ids).delete()
    return len(ids)
