"""Figures of what is asked, made from the usage entries, each of which is counted exactly once in each figure.

An entry carries the mark of having been counted, set in the transaction that counts it. So counting twice, late or at
the same time changes nothing, and the figures stay when old entries are deleted.
"""

import uuid
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, connection, transaction
from django.db.models import Count, Q
from django.utils import timezone

from tenants import outbox
from tenants.models import EventType, Tenant, UsageEntry, UsageHour, WebhookEvent

HOUR = timedelta(hours=1)
HOURS_BACK = 48  # made up for after an outage; older questions are counted in the first of these
BATCH = 1000
EndUserKey = tuple[uuid.UUID, uuid.UUID]  # tenant, end user
OUTCOMES = ("answered", "not_found", "stopped", "failed")

# In the order of the end users, so that two who count at the same time never hold what the other waits for.
_COUNT = """
    WITH batch AS (
        SELECT id FROM tenants_usageentry
        WHERE counted_at IS NULL AND settled_at IS NOT NULL AND end_user_id IS NOT NULL AND settled_at <= %(before)s
        ORDER BY end_user_id, settled_at LIMIT %(limit)s FOR NO KEY UPDATE SKIP LOCKED
    ), counted AS (
        UPDATE tenants_usageentry entry SET counted_at = clock_timestamp() FROM batch WHERE entry.id = batch.id
        RETURNING entry.*
    ), figures AS (
        SELECT tenant_id, end_user_id, day, count(*) AS questions,
            count(*) FILTER (WHERE outcome = 'answered') AS answered,
            count(*) FILTER (WHERE outcome = 'not_found') AS not_found,
            count(*) FILTER (WHERE outcome = 'stopped') AS stopped,
            count(*) FILTER (WHERE outcome = 'failed') AS failed,
            coalesce(sum(total_ms) FILTER (WHERE outcome = 'answered'), 0) AS answered_ms,
            min(asked_at) AS first_asked_at, max(asked_at) AS last_asked_at
        FROM counted GROUP BY tenant_id, end_user_id, day
    ), by_day AS (
        INSERT INTO tenants_enduserday AS known
            (tenant_id, end_user_id, day, questions, answered, not_found, stopped, failed, answered_ms)
        SELECT tenant_id, end_user_id, day, questions, answered, not_found, stopped, failed, answered_ms
        FROM figures ORDER BY end_user_id, day
        ON CONFLICT (end_user_id, day) DO UPDATE SET
            questions = known.questions + excluded.questions, answered = known.answered + excluded.answered,
            not_found = known.not_found + excluded.not_found, stopped = known.stopped + excluded.stopped,
            failed = known.failed + excluded.failed, answered_ms = known.answered_ms + excluded.answered_ms
        RETURNING end_user_id, day, xmax = 0 AS is_new
    ), in_all AS (
        INSERT INTO tenants_enduserstatistics AS known
            (tenant_id, end_user_id, questions, answered, not_found, stopped, failed, answered_ms, active_days,
            first_asked_at, last_asked_at, updated_at)
        SELECT tenant_id, end_user_id, sum(questions), sum(answered), sum(not_found), sum(stopped), sum(failed),
            sum(answered_ms), count(*) FILTER (WHERE is_new), min(first_asked_at), max(last_asked_at), clock_timestamp()
        FROM figures JOIN by_day USING (end_user_id, day) GROUP BY tenant_id, end_user_id ORDER BY end_user_id
        ON CONFLICT (end_user_id) DO UPDATE SET
            questions = known.questions + excluded.questions, answered = known.answered + excluded.answered,
            not_found = known.not_found + excluded.not_found, stopped = known.stopped + excluded.stopped,
            failed = known.failed + excluded.failed, answered_ms = known.answered_ms + excluded.answered_ms,
            active_days = known.active_days + excluded.active_days,
            first_asked_at = least(known.first_asked_at, excluded.first_asked_at),
            last_asked_at = greatest(known.last_asked_at, excluded.last_asked_at), updated_at = excluded.updated_at
    )
    SELECT tenant_id, end_user_id, sum(questions)::int FROM figures GROUP BY tenant_id, end_user_id
"""
_PERCENTILES = """
    SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY total_ms), percentile_disc(0.95) WITHIN GROUP (ORDER BY total_ms)
    FROM tenants_usageentry WHERE hour_id = %s AND outcome = 'answered'
"""


def count_questions(*, settled_before: datetime | None = None) -> Counter[EndUserKey]:
    """Add settled questions that are not counted yet to their end users' figures; return how many of whom.

    At most `BATCH`, of all tenants, by one statement: a question is counted where it is marked, so any number may
    count at the same time.
    """
    with connection.cursor() as cursor:
        cursor.execute(_COUNT, {"before": settled_before or timezone.now(), "limit": BATCH})
        return Counter({(tenant_id, end_user_id): count for tenant_id, end_user_id, count in cursor.fetchall()})


def close_hours(*, tenant: Tenant) -> list[WebhookEvent]:
    """Write the tenant's finished hours that are missing, with their events, and return those.

    A question belongs to the first hour that is closed after its end, so none is left out and none counted twice.
    """
    this_hour = timezone.now().replace(minute=0, second=0, microsecond=0)
    is_heard = outbox.is_heard(tenant=tenant, type=EventType.USAGE_HOURLY)
    unreported = UsageEntry.objects.for_tenant(tenant).filter(hour=None, settled_at__lt=this_hour)
    if not is_heard and not unreported.exists():
        return []
    events = []
    for starts_at in _missing_hours(tenant, this_hour):
        event = _close_hour(tenant, starts_at, is_heard=is_heard)
        if event is not None:
            events.append(event)
    return events


def _missing_hours(tenant: Tenant, this_hour: datetime) -> list[datetime]:
    last = UsageHour.objects.for_tenant(tenant).order_by("-starts_at").values_list("starts_at", flat=True).first()
    first = max(last + HOUR, this_hour - HOURS_BACK * HOUR) if last else this_hour - HOUR
    count = int((this_hour - first) / HOUR)
    return [first + number * HOUR for number in range(count)]


def _close_hour(tenant: Tenant, starts_at: datetime, *, is_heard: bool) -> WebhookEvent | None:
    """Write one hour, unless another worker has; an hour without questions only if somebody is told of it."""
    entries = UsageEntry.objects.for_tenant(tenant).filter(hour=None, settled_at__lt=starts_at + HOUR)
    if not is_heard and not entries.exists():
        return None
    try:
        with transaction.atomic():
            hour = UsageHour.objects.create(tenant=tenant, starts_at=starts_at)
            entries.update(hour=hour)
            _fill(hour)
            return outbox.record_event(
                tenant=tenant,
                type=EventType.USAGE_HOURLY,
                key=starts_at.isoformat(),
                payload=hour_payload(hour),
            )
    except IntegrityError:
        return None


def _fill(hour: UsageHour) -> None:
    counts = {outcome: Count("pk", filter=Q(outcome=outcome)) for outcome in OUTCOMES}
    figures = hour.entries.aggregate(questions=Count("pk"), end_users=Count("end_user", distinct=True), **counts)
    with connection.cursor() as cursor:
        cursor.execute(_PERCENTILES, [hour.pk])
        figures["total_ms_p50"], figures["total_ms_p95"] = cursor.fetchone()
    for name, value in figures.items():
        setattr(hour, name, value)
    hour.save(update_fields=list(figures))


def hour_payload(hour: UsageHour) -> dict[str, Any]:
    return {
        "starts_at": hour.starts_at.isoformat(),
        "ends_at": (hour.starts_at + HOUR).isoformat(),
        "questions": hour.questions,
        **{outcome: getattr(hour, outcome) for outcome in OUTCOMES},
        "active_users": hour.end_users,
        "total_ms": {"p50": hour.total_ms_p50, "p95": hour.total_ms_p95},
    }
