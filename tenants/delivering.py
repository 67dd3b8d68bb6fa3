"""Delivering webhooks: take a due delivery of an endpoint, send it, write down what came of it.

An endpoint has at most `settings.WEBHOOK_IN_FLIGHT_PER_ENDPOINT` requests in flight, and one that does not answer
rests for a growing while, so it cannot keep the workers from the others.
"""

import random
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import F, Q
from django.db.models.functions import Coalesce
from django.utils import timezone

from core.jobs import kept
from core.outbound import FetchTimeoutError, OutboundError, fetch
from core.states import State
from core.turns import Turn
from tenants import notices, outbox, signing
from tenants.models import WebhookAttempt, WebhookDelivery, WebhookEndpoint

log = structlog.get_logger(__name__)

RESPONSE_MAX_BYTES = 4096
EXCERPT_MAX_CHARS = 500
JITTER = 0.2
PAUSE_FIRST_SECONDS = 5.0
PAUSE_MAX_SECONDS = 600.0
USER_AGENT = "Pasokh-Webhooks/1.0"
RING_AGAIN_AFTER = timedelta(seconds=10)
WORN_OUT = "Sending was cut off too often."


def max_attempts() -> int:
    return len(settings.WEBHOOK_RETRY_DELAYS_SECONDS) + 1


@dataclass(frozen=True)
class Reply:
    """What came of one request: a status, or an error in words fit for the tenant."""

    started_at: datetime
    duration_ms: int
    status: int | None = None
    error: str = ""
    excerpt: str = ""
    retry_after_seconds: float | None = None

    @property
    def is_success(self) -> bool:
        return self.status is not None and HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES

    @property
    def is_gone(self) -> bool:
        return self.status == HTTPStatus.GONE

    @property
    def is_silence(self) -> bool:
        return self.status is None


def deliver_due(endpoint_id: uuid.UUID, *, seconds: float, tenant_id: uuid.UUID | None = None) -> None:
    """Send the endpoint's due deliveries, the longest due first, until none is left, it has to rest or time is up.

    Returns at once if enough others are sending to it.
    """
    turn = Turn(seconds, tenant_id=tenant_id)
    while not turn.is_over():
        delivery = claim(endpoint_id)
        if delivery is None:
            return
        with kept(delivery):
            reply = send(delivery)
        record(delivery, reply)


def claim(endpoint_id: uuid.UUID) -> WebhookDelivery | None:
    """Take the endpoint's next due delivery, or None if there is none, the endpoint rests or its lanes are full."""
    now = timezone.now()
    with transaction.atomic():
        # The endpoint's row lock makes counting exact; "no key" lets answers write new deliveries meanwhile.
        endpoint = (
            WebhookEndpoint.objects.open_at(now).select_for_update(no_key=True, of=("self",)).filter(pk=endpoint_id)
        ).first()
        if endpoint is None:
            return None
        deliveries = WebhookDelivery.objects.filter(endpoint=endpoint)
        if deliveries.in_flight(now).count() >= settings.WEBHOOK_IN_FLIGHT_PER_ENDPOINT:
            return None
        due = deliveries.due(now).filter(attempts__lt=max_attempts()).order_by("next_attempt_at")
        delivery_id = due.values_list("pk", flat=True).first()
        return WebhookDelivery.objects.take({"pk": delivery_id}) if delivery_id else None


def send(delivery: WebhookDelivery) -> Reply:
    """Make the one request of this attempt; a redirect is not followed."""
    started_at, clock = timezone.now(), time.monotonic()
    body = outbox.event_body(delivery.event)
    signed = signing.signed_headers(delivery.endpoint, event_id=str(delivery.event_id), body=body, now=started_at)
    try:
        fetched = fetch(
            delivery.endpoint.url,
            method="POST",
            headers={"content-type": "application/json", "user-agent": USER_AGENT} | signed,
            body=body.encode(),
            max_bytes=RESPONSE_MAX_BYTES,
            truncate=True,
            max_redirects=0,
            timeout_seconds=settings.WEBHOOK_TIMEOUT_SECONDS,
        )
    except OutboundError as exc:
        # Only a time-out may tell how long it took: other durations would tell about the network behind us.
        elapsed = time.monotonic() - clock if isinstance(exc, FetchTimeoutError) else 0.0
        return Reply(started_at, round(elapsed * 1000), error=str(exc))
    return Reply(
        started_at,
        round((time.monotonic() - clock) * 1000),
        status=fetched.status,
        error="" if HTTPStatus.OK <= fetched.status < HTTPStatus.MULTIPLE_CHOICES else f"HTTP {fetched.status}",
        excerpt=_excerpt(fetched.body),
        retry_after_seconds=retry_after_seconds(fetched.headers, started_at),
    )


@transaction.atomic
def record(delivery: WebhookDelivery, reply: Reply) -> None:
    """Log the attempt and move the delivery on, unless another worker has taken it over meanwhile."""
    WebhookAttempt.objects.create(
        tenant_id=delivery.tenant_id,
        delivery=delivery,
        number=delivery.attempts,
        status=reply.status,
        error=reply.error,
        response_excerpt=reply.excerpt,
        duration_ms=reply.duration_ms,
        started_at=reply.started_at,
    )
    now = timezone.now()
    is_over = reply.is_success or reply.is_gone or delivery.attempts >= max_attempts()
    values = {"next_attempt_at": now + timedelta(seconds=_delay_seconds(delivery, reply))}
    if is_over:
        values = {"finished_at": now}
    state = State.DONE if reply.is_success else State.FAILED if is_over else State.QUEUED
    if not delivery.let_go(state=state, last_status=reply.status, last_error=reply.error, **values):
        log.warning("a webhook delivery was taken over meanwhile", delivery=str(delivery.pk))
    if reply.is_success:
        _note_success(delivery.endpoint)
    else:
        _note_failure(delivery.endpoint, reply, now)


def close_worn_out(*, limit: int) -> int:
    """Fail deliveries whose last attempt was cut off; they may be what killed the workers. Return how many."""
    now, deliveries = timezone.now(), WebhookDelivery.objects
    worn_out = deliveries.worn_out() | deliveries.due(now).filter(attempts__gte=max_attempts())
    ids = list(worn_out.values_list("pk", flat=True)[:limit])
    return worn_out.filter(pk__in=ids).update(
        state=State.FAILED, last_error=WORN_OUT, finished_at=now, **WebhookDelivery.UNCLAIMED
    )


def retry_after_seconds(headers: Mapping[str, str], now: datetime) -> float | None:
    """Return how long the receiver asks us to wait, as seconds or as a date, or None; capped."""
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        seconds = float(text)
    else:
        try:
            seconds = (parsedate_to_datetime(text) - now).total_seconds()
        except (ValueError, TypeError):
            return None
    return min(max(seconds, 0.0), settings.WEBHOOK_RETRY_AFTER_MAX_SECONDS)


def _delay_seconds(delivery: WebhookDelivery, reply: Reply) -> float:
    delays = settings.WEBHOOK_RETRY_DELAYS_SECONDS
    delay = delays[min(delivery.attempts, len(delays)) - 1] * random.uniform(1, 1 + JITTER)  # noqa: S311 -- no secret
    return max(delay, reply.retry_after_seconds or 0.0)


def _note_success(endpoint: WebhookEndpoint) -> None:
    if endpoint.failing_since or endpoint.silent_count:
        WebhookEndpoint.objects.filter(pk=endpoint.pk).update(failing_since=None, silent_count=0, paused_until=None)


def _note_failure(endpoint: WebhookEndpoint, reply: Reply, now: datetime) -> None:
    row = WebhookEndpoint.objects.filter(pk=endpoint.pk)
    row.update(
        failing_since=Coalesce(F("failing_since"), now),
        silent_count=F("silent_count") + 1 if reply.is_silence else 0,
        paused_until=now + timedelta(seconds=_pause_seconds(endpoint, reply)),
    )
    too_long_ago = now - timedelta(days=settings.WEBHOOK_DISABLE_AFTER_DAYS)
    if reply.is_gone:
        disable(endpoint, WebhookEndpoint.DisabledReason.GONE)
    elif row.filter(failing_since__lte=too_long_ago).exists():
        disable(endpoint, WebhookEndpoint.DisabledReason.FAILING)


def _pause_seconds(endpoint: WebhookEndpoint, reply: Reply) -> float:
    """Return how long the endpoint rests: for lack of an answer, or because it asked for it."""
    if reply.is_silence:
        return min(PAUSE_FIRST_SECONDS * 2 ** min(endpoint.silent_count, 10), PAUSE_MAX_SECONDS)
    if reply.status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        return min(reply.retry_after_seconds or 0.0, PAUSE_MAX_SECONDS)
    return 0.0


def disable(endpoint: WebhookEndpoint, reason: str) -> bool:
    """Switch the endpoint off and, unless by hand, tell the tenant's owners; False if it was off already."""
    changed = WebhookEndpoint.objects.filter(pk=endpoint.pk, is_enabled=True).update(
        is_enabled=False, disabled_reason=reason, disabled_at=timezone.now()
    )
    if changed and reason != WebhookEndpoint.DisabledReason.BY_HAND:
        notices.tell_endpoint_disabled(endpoint, reason)
    return bool(changed)


def take_bell(endpoint_id: uuid.UUID) -> bool:
    """Return whether to ring for the endpoint now: not while a message is on its way, unless that seems lost.

    However much happens while no worker is free, an endpoint has one message in the queue.
    """
    now = timezone.now()
    return bool(WebhookEndpoint.objects.filter(unheard_at(now), pk=endpoint_id).update(rung_at=now))


def hear_bell(endpoint_id: uuid.UUID) -> None:
    """Note that a worker has come: what is written from now on may need another."""
    WebhookEndpoint.objects.filter(pk=endpoint_id, rung_at__isnull=False).update(rung_at=None)


def unheard_at(moment: datetime) -> Q:
    return Q(rung_at=None) | Q(rung_at__lt=moment - RING_AGAIN_AFTER)


def next_due(endpoint_id: uuid.UUID) -> uuid.UUID | None:
    """Return a delivery that a worker could take now, or None."""
    now = timezone.now()
    if not WebhookEndpoint.objects.open_at(now).filter(pk=endpoint_id).exists():
        return None
    deliveries = WebhookDelivery.objects.filter(endpoint=endpoint_id)
    if deliveries.in_flight(now).count() >= settings.WEBHOOK_IN_FLIGHT_PER_ENDPOINT:
        return None
    return deliveries.due(now).order_by("next_attempt_at").values_list("pk", flat=True).first()


def _excerpt(body: bytes) -> str:
    return body.decode("utf-8", "replace").replace("\x00", "")[:EXCERPT_MAX_CHARS]
