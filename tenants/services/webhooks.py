"""Tell a tenant's own systems what happened: endpoints, events, replays."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from core.outbound import parse_target
from core.states import OPEN_STATES, State
from tenants import delivering, outbox, signing, tasks
from tenants.errors import EventTypeUnknownError, WebhookDisabledError
from tenants.models import EventType, Tenant, WebhookDelivery, WebhookEndpoint, WebhookEvent

REPLAY_MAX = 10_000


@transaction.atomic
def emit(*, tenant: Tenant, type: str, payload: dict[str, Any], key: str = "") -> WebhookEvent | None:  # noqa: A002 -- the event's own word
    """Write an event into the outbox, in the caller's transaction, and ring for its deliveries after the commit.

    The same ``key`` is told once. None if no endpoint of the tenant asks for the type.
    """
    event = outbox.record_event(tenant=tenant, type=type, payload=payload, key=key)
    if event is not None:
        _ring_after_commit([event])
    return event


def create_endpoint(
    *, tenant: Tenant, url: str, event_types: Iterable[str] = (), description: str = ""
) -> tuple[WebhookEndpoint, str]:
    """Create an endpoint and return it with its secret, which is shown this once; no types means all.

    Raises:
        OutboundError: if the URL is none, or leads to an address that may not be reached.
        EventTypeUnknownError: if a type is not one of `EventType`.
    """
    endpoint = WebhookEndpoint.objects.create(
        tenant=tenant,
        url=parse_target(url).url,
        event_types=_checked_types(event_types),
        description=description,
        secret_salt=signing.new_salt(),
    )
    return endpoint, signing.secret_of(endpoint)


def update_endpoint(
    *,
    endpoint: WebhookEndpoint,
    url: str | None = None,
    event_types: Iterable[str] | None = None,
    description: str | None = None,
) -> WebhookEndpoint:
    """Change what is given; raises what `create_endpoint` does."""
    if url is not None:
        endpoint.url = parse_target(url).url
    if event_types is not None:
        endpoint.event_types = _checked_types(event_types)
    if description is not None:
        endpoint.description = description
    endpoint.save(update_fields=["url", "event_types", "description"])
    return endpoint


def disable_endpoint(*, endpoint: WebhookEndpoint) -> bool:
    """Stop sending to the endpoint; what is queued stays queued."""
    return delivering.disable(endpoint, WebhookEndpoint.DisabledReason.BY_HAND)


def enable_endpoint(*, endpoint: WebhookEndpoint) -> None:
    """Send to the endpoint again, beginning with what is still queued; the sweeper rings within a second."""
    WebhookEndpoint.objects.filter(pk=endpoint.pk).update(
        is_enabled=True,
        disabled_reason="",
        disabled_at=None,
        failing_since=None,
        silent_count=0,
        paused_until=None,
        rung_at=None,
    )
    endpoint.refresh_from_db()


def remove_endpoint(*, endpoint: WebhookEndpoint) -> None:
    """Delete the endpoint with its deliveries and their log; events stay, for the other endpoints."""
    endpoint.delete()


@transaction.atomic
def rotate_secret(*, endpoint: WebhookEndpoint) -> str:
    """Give the endpoint a new secret and return it; the one before stays valid for a day, any older one ends now."""
    row = WebhookEndpoint.objects.select_for_update().get(pk=endpoint.pk)
    row.previous_salt, row.secret_salt = row.secret_salt, signing.new_salt()
    row.previous_valid_until = timezone.now() + timedelta(hours=settings.WEBHOOK_SECRET_OVERLAP_HOURS)
    row.save(update_fields=["previous_salt", "secret_salt", "previous_valid_until"])
    return signing.secret_of(row)


@transaction.atomic
def send_test_event(*, endpoint: WebhookEndpoint) -> WebhookDelivery:
    """Queue an event to this endpoint alone, whatever types it asks for.

    Raises:
        WebhookDisabledError: if the endpoint is switched off.
    """
    _refuse_disabled(endpoint)
    event = WebhookEvent.objects.create(
        tenant_id=endpoint.tenant_id, type=EventType.TEST, payload={"endpoint_id": str(endpoint.pk)}
    )
    outbox.add_deliveries(event, [endpoint])
    _ring_after_commit([event])
    return WebhookDelivery.objects.get(event=event, endpoint=endpoint)


@transaction.atomic
def replay_delivery(*, delivery: WebhookDelivery) -> WebhookDelivery:
    """Send the delivery again, with all its attempts anew and the same ``webhook-id``.

    Raises:
        WebhookDisabledError: if the endpoint is switched off.
    """
    _refuse_disabled(delivery.endpoint)
    _requeue(WebhookDelivery.objects.filter(pk=delivery.pk))
    _ring_after_commit([delivery.event])
    delivery.refresh_from_db()
    return delivery


@transaction.atomic
def replay_event(*, event: WebhookEvent) -> int:
    """Send the event again to every enabled endpoint that asks for its type; return how many."""
    subscribed = WebhookEndpoint.objects.subscribed(tenant=event.tenant, event_type=event.type)
    endpoints = list(subscribed.filter(is_enabled=True))
    outbox.add_deliveries(event, endpoints)
    _requeue(WebhookDelivery.objects.filter(event=event, endpoint__in=endpoints))
    _ring_after_commit([event])
    return len(endpoints)


@transaction.atomic
def replay_range(*, endpoint: WebhookEndpoint, since: datetime, until: datetime, again: bool = False) -> int:
    """Send the endpoint the events of the time span that it missed, or with ``again`` also those that arrived.

    Takes the oldest 10,000; repeat until it returns 0 for more. Events still on their way are left alone.

    Raises:
        WebhookDisabledError: if the endpoint is switched off.
    """
    _refuse_disabled(endpoint)
    events = WebhookEvent.objects.for_tenant(endpoint.tenant).filter(created_at__gte=since, created_at__lt=until)
    events = events.exclude(type=EventType.TEST)
    if endpoint.event_types:
        events = events.filter(type__in=endpoint.event_types)
    mine = WebhookDelivery.objects.filter(endpoint=endpoint)
    settled = Q(state__in=OPEN_STATES) if again else ~Q(state=State.FAILED)
    events = events.exclude(pk__in=mine.filter(settled).values("event")).order_by("created_at")
    batch = list(events[:REPLAY_MAX])
    outbox.add_deliveries_of(batch, endpoint)
    _requeue(mine.filter(event__in=[event.pk for event in batch]))
    WebhookEndpoint.objects.filter(pk=endpoint.pk).update(rung_at=None)  # the sweeper rings once for all of them
    return len(batch)


def _requeue(deliveries: Any) -> None:
    deliveries.exclude(state=State.RUNNING).update(
        state=State.QUEUED, attempts=0, next_attempt_at=timezone.now(), finished_at=None
    )


def _ring_after_commit(events: list[WebhookEvent]) -> None:
    transaction.on_commit(partial(tasks.ring_for_events, events), robust=True)


def _refuse_disabled(endpoint: WebhookEndpoint) -> None:
    if not WebhookEndpoint.objects.filter(pk=endpoint.pk, is_enabled=True).exists():
        raise WebhookDisabledError("The endpoint is switched off; switch it on first.")


def _checked_types(event_types: Iterable[str]) -> list[str]:
    types = sorted(set(event_types))
    if unknown := sorted(set(types) - set(EventType.values)):
        raise EventTypeUnknownError(
            f"Unknown event type: {', '.join(unknown)}. There are: {', '.join(EventType.values)}."
        )
    return types
