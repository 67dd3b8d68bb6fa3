"""Figures of what is asked, made from the usage entries, each of which is counted exactly once in each figure.

An entry carries the mark of having been counted, set in the transaction that counts it. So counting twice, late or at
the same time changes nothing, and the figures stay when old entries are deleted.
"""

import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import Any

from django.db import IntegrityError, connection, transaction
from django.db.models import Count, F, Q
from django.utils import timezone

from tenants import outbox
from tenants.models import (
    EndUser,
    EndUserDay,
    EndUserStatistics,
    EventType,
    Tenant,
    UsageEntry,
    UsageHour,
    WebhookEvent,
)

HOUR = timedelta(hours=1)
HOURS_BACK = 48  # made up for after an outage; older questions are counted in the first of these
BATCH = 1000
OUTCOMES = ("answered", "not_found", "stopped", "failed")

_PERCENTILES = """
    SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY total_ms), percentile_disc(0.95) WITHIN GROUP (ORDER BY total_ms)
    FROM tenants_usageentry WHERE hour_id = %s AND outcome = 'answered'
"""


def uncounted_users(*, settled_before: datetime, limit: int) -> list[uuid.UUID]:
    """Return end users with questions that should have been counted by now."""
    entries = UsageEntry.objects.filter(end_user__isnull=False, counted_at=None, settled_at__lt=settled_before)
    return list(entries.order_by("end_user").values_list("end_user", flat=True).distinct()[:limit])


@transaction.atomic
def count_questions(end_user_id: uuid.UUID) -> int:
    """Add the end user's settled questions that are not counted yet to the figures; return how many there were."""
    end_user = EndUser.objects.filter(pk=end_user_id).first()
    if end_user is None:
        return 0
    EndUserStatistics.objects.get_or_create(end_user=end_user, defaults={"tenant_id": end_user.tenant_id})
    total = EndUserStatistics.objects.select_for_update().get(end_user=end_user)  # one counts at a time
    open_entries = UsageEntry.objects.filter(end_user=end_user, counted_at=None, settled_at__isnull=False)
    entries = list(open_entries.order_by("settled_at")[:BATCH])
    if not entries:
        return 0
    UsageEntry.objects.filter(pk__in=[entry.pk for entry in entries]).update(counted_at=timezone.now())
    _add_to_days(end_user, entries)
    for name, amount in _figures(entries).items():
        setattr(total, name, getattr(total, name) + amount)
    asked = [entry.asked_at for entry in entries]
    total.first_asked_at = min([*asked, total.first_asked_at] if total.first_asked_at else asked)
    total.last_asked_at = max([*asked, total.last_asked_at] if total.last_asked_at else asked)
    total.active_days = EndUserDay.objects.filter(end_user=end_user).count()
    total.save()
    return len(entries)


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


def _figures(entries: Iterable[UsageEntry]) -> Counter[str]:
    """Return how much the entries add to each field of `Figures`."""
    figures: Counter[str] = Counter()
    for entry in entries:
        figures["questions"] += 1
        figures[entry.outcome] += 1
        if entry.outcome == UsageEntry.Outcome.ANSWERED:
            figures["answered_ms"] += entry.total_ms or 0
    return figures


def _add_to_days(end_user: EndUser, entries: Iterable[UsageEntry]) -> None:
    by_day: defaultdict[date, list[UsageEntry]] = defaultdict(list)
    for entry in entries:
        by_day[entry.day].append(entry)
    for day, of_day in by_day.items():
        row, _created = EndUserDay.objects.get_or_create(
            end_user=end_user, day=day, defaults={"tenant_id": end_user.tenant_id}
        )
        added = {name: F(name) + amount for name, amount in _figures(of_day).items()}
        EndUserDay.objects.filter(pk=row.pk).update(**added)
