"""Doorbells of webhooks, notifications, limits and statistics. No rules live here: the rows decide.

A message that is lost costs seconds: `tenants.sweeping` rings again for every row that waits.
"""

import uuid
from collections.abc import Iterable
from datetime import datetime

from celery import shared_task
from django.conf import settings

from core import turns
from core.enqueue import publish
from core.jobs import kept
from core.states import OPEN_STATES
from tenants import announcing, delivering, metering, statistics, tiering
from tenants.models import EndUser, EventType, Tenant, TierRule, WebhookDelivery, WebhookEvent

TIER_BATCH = 500


def ring_for_events(events: Iterable[WebhookEvent]) -> None:
    """Ring for the events' deliveries, leaving out endpoints that rest, are served already or were rung for.

    A worker that serves an endpoint looks for more before it stops, so what is left out here is not late.
    """
    waiting = WebhookDelivery.objects.filter(event__in=list(events), state__in=OPEN_STATES)
    for delivery in waiting:
        if delivering.next_due(delivery.endpoint_id) is not None:
            ring_for_delivery(delivery.pk, delivery.endpoint_id, delivery.tenant_id)


def ring_for_delivery(delivery_id: uuid.UUID, endpoint_id: uuid.UUID, tenant_id: uuid.UUID) -> bool:
    """Ring for the delivery's endpoint, unless a message for that is on its way; False if the broker is away."""
    if not delivering.take_bell(endpoint_id):
        return True
    level = turns.level_of(tenant_id)
    return publish(deliver_webhook_task, {"delivery_id": str(delivery_id)}, tenant_id=tenant_id, level=level)


@shared_task(
    name="tenants.deliver_webhook_task",
    soft_time_limit=settings.WEBHOOK_TIME_LIMIT_SECONDS - 2,
    time_limit=settings.WEBHOOK_TIME_LIMIT_SECONDS,
)
def deliver_webhook_task(*, delivery_id: str) -> None:
    """Send the due deliveries of this one's endpoint, then ring again if time was up before the work."""
    delivery = WebhookDelivery.objects.filter(pk=delivery_id).only("endpoint_id", "tenant_id").first()
    if delivery is None:
        return
    delivering.hear_bell(delivery.endpoint_id)
    seconds = settings.WEBHOOK_SLICE_SECONDS
    delivering.deliver_due(delivery.endpoint_id, seconds=seconds, tenant_id=delivery.tenant_id)
    following = delivering.next_due(delivery.endpoint_id)
    if following is not None:
        ring_for_delivery(following, delivery.endpoint_id, delivery.tenant_id)


@shared_task(name="tenants.send_query_result_to_users", soft_time_limit=20, time_limit=30)
def send_query_result_to_users(*, message_id: str) -> None:
    """Ring for the deliveries of this answer's event, which was written with the answer itself."""
    ring_for_events(WebhookEvent.objects.filter(type=EventType.QUERY_ANSWERED, key=message_id))


@shared_task(name="tenants.send_usage_statistics", ignore_result=False, soft_time_limit=540, time_limit=600)
def send_usage_statistics() -> dict[str, int]:
    """Close every tenant's finished hours and tell them; running it twice changes nothing."""
    counts = {"tenants": 0, "events": 0}
    for tenant in Tenant.objects.filter(is_active=True).iterator():
        events = statistics.close_hours(tenant=tenant)
        ring_for_events(events)
        counts["tenants"] += 1
        counts["events"] += len(events)
    return counts


@shared_task(name="tenants.send_system_notification", soft_time_limit=110, time_limit=120)
def send_system_notification(*, notification_id: str) -> None:
    """Hand the notification out: copies, events, and a slice of the e-mails."""
    notification = announcing.claim(notification_id)
    if notification is None:
        return
    try:
        with kept(notification):
            ring_for_events(announcing.hand_out(notification))
            has_more = announcing.send_mails(notification)
    except OSError as exc:  # the mail server's errors among them
        announcing.put_off(notification, f"The mail server could not be used ({type(exc).__name__}).")
        return
    except Exception as exc:
        announcing.put_off(notification, f"Handing out failed on our side ({type(exc).__name__}).")
        raise
    announcing.finish(notification, is_done=not has_more)
    if has_more:
        publish(send_system_notification, {"notification_id": notification_id}, tenant_id=notification.tenant_id)


@shared_task(name="tenants.reset_user_daily_limit", ignore_result=False, soft_time_limit=20, time_limit=30)
def reset_user_daily_limit(*, end_user_id: str) -> dict[str, int]:
    """Let the end user's day begin anew; a row of `LimitReset` remembers it."""
    end_user = EndUser.objects.select_related("tenant").filter(pk=end_user_id).first()
    if end_user is None:
        return {"users": 0, "units": 0}
    return {"users": 1, "units": metering.reset(tenant=end_user.tenant, end_user=end_user).units}


@shared_task(name="tenants.reset_all_daily_limits", ignore_result=False, soft_time_limit=540, time_limit=600)
def reset_all_daily_limits(*, tenant_id: str | None = None, force: bool = False) -> dict[str, int]:
    """Begin the new day of every tenant where it is past midnight and that has not been done.

    With ``force`` today begins anew as well, which is what an operator who asks for a reset means.
    """
    tenants = Tenant.objects.filter(is_active=True)
    counts = {"tenants": 0, "units": 0}
    for tenant in tenants.filter(pk=tenant_id) if tenant_id else tenants.iterator():
        begun = metering.begin_day(tenant=tenant)
        resets = [begun, metering.reset(tenant=tenant) if force else None]
        counts["tenants"] += any(resets)
        counts["units"] += sum(reset.units for reset in resets if reset)
        if begun and TierRule.objects.for_tenant(tenant).exists():
            publish(calculate_user_tier, {"tenant_id": str(tenant.pk)}, tenant_id=tenant.pk)
    return counts


@shared_task(name="tenants.update_user_statistics", soft_time_limit=20, time_limit=30)
def update_user_statistics(*, end_user_id: str) -> None:
    """Count the end user's questions that are not counted yet, and all others' with them; then tiers may change."""
    if count_questions() == statistics.BATCH:
        publish(update_user_statistics, {"end_user_id": end_user_id})


def count_questions(*, settled_before: datetime | None = None) -> int:
    """Count a batch of questions and ring for the tiers of those who asked; return how many questions."""
    counted = statistics.count_questions(settled_before=settled_before)
    rules = TierRule.objects.filter(tenant__in={tenant_id for tenant_id, _end_user_id in counted})
    with_tiers = set(rules.values_list("tenant", flat=True))
    for tenant_id, end_user_id in counted:
        if tenant_id in with_tiers:
            publish(calculate_user_tier, {"end_user_id": str(end_user_id)}, tenant_id=tenant_id)
    return counted.total()


@shared_task(name="tenants.calculate_user_tier", soft_time_limit=110, time_limit=120)
def calculate_user_tier(
    *, end_user_id: str | None = None, tenant_id: str | None = None, after: str | None = None
) -> None:
    """Apply the tenant's tier rules to one end user, or to all of a tenant in batches; moves leave a `TierChange`."""
    if end_user_id is not None:
        tiering.calculate(uuid.UUID(end_user_id))
    if tenant_id is None:
        return
    users = tiering.batch_of_users(
        tenant=Tenant(pk=tenant_id), after=uuid.UUID(after) if after else None, limit=TIER_BATCH
    )
    for user_id in users:
        tiering.calculate(user_id)
    if len(users) == TIER_BATCH:
        publish(calculate_user_tier, {"tenant_id": tenant_id, "after": str(users[-1])}, tenant_id=tenant_id)
