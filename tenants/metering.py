"""Counting questions against the limits of a day.

One statement per counter both checks and counts, so of any number of parallel questions exactly as many pass as the
limit says. DRF's throttles check first and count later: measured, 100 of 100 parallel requests passed a limit of 5.
"""

import uuid
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal, cast

from django.conf import settings
from django.db import connection, transaction
from django.db.models import F, QuerySet, Sum
from django.utils import timezone

from core.postgres import prepared
from core.postgres.columns import insert
from tenants.errors import DailyLimitReachedError
from tenants.models import DailyCounter, EndUser, LimitReset, Tenant, UsageEntry

_NO_LIMIT = 2**31 - 1

_TAKE = """
    INSERT INTO tenants_dailycounter AS counter (tenant_id, end_user_id, day, used) VALUES (%s, %s, %s, 1)
    ON CONFLICT (tenant_id, end_user_id, day) DO UPDATE SET used = counter.used + 1 WHERE counter.used < %s
    RETURNING id
"""
_SETTLE = """
    UPDATE tenants_usageentry SET outcome = %s, total_ms = %s, settled_at = %s, returned_at = %s
    WHERE id = %s AND settled_at IS NULL RETURNING end_user_id, user_counter, tenant_counter
"""


@dataclass(frozen=True)
class Allowance:
    """What is left of a day; ``limit`` and ``remaining`` are None where nothing limits."""

    limit: int | None
    used: int
    resets_at: datetime

    @property
    def remaining(self) -> int | None:
        return None if self.limit is None else max(0, self.limit - self.used)


def end_user_limit(tenant: Tenant, end_user: EndUser) -> int | None:
    """Return the questions a day: the user's own limit, else the tier's, the tenant's, the installation's."""
    tier_limit = end_user.tier.daily_limit if end_user.tier else None
    own = (end_user.daily_limit, tier_limit, tenant.end_user_daily_limit)
    return next((limit for limit in own if limit is not None), settings.LIMIT_END_USER_DAILY or None)


def tenant_limit(tenant: Tenant) -> int | None:
    return tenant.daily_limit if tenant.daily_limit is not None else settings.LIMIT_TENANT_DAILY or None


def reserve(*, tenant: Tenant, end_user: EndUser | None, question_id: uuid.UUID) -> UsageEntry:
    """Take one unit of the end user's day and of the tenant's, or none of them; call it in a transaction.

    Raises:
        DailyLimitReachedError: if either day is used up.
    """
    now = timezone.now()
    day = tenant.day_of(now)
    limit = tenant_limit(tenant)
    user_counter = tenant_counter = None
    with transaction.atomic() if limit is not None else nullcontext():  # a savepoint, for none or both
        if end_user is not None:
            user_counter = _take(tenant, end_user, day, end_user_limit(tenant, end_user), now)
        if limit is not None:  # the one row that all of a tenant's questions share: last, to hold it shortly
            tenant_counter = _take(tenant, None, day, limit, now)
    entry = UsageEntry(
        id=question_id,
        tenant=tenant,
        end_user=end_user,
        day=day,
        user_counter=user_counter,
        tenant_counter=tenant_counter,
        asked_at=now,
    )
    insert(entry)
    return entry


@transaction.atomic(savepoint=False)
def settle(*, question_id: uuid.UUID, outcome: str, total_ms: int | None) -> uuid.UUID | Literal[False] | None:
    """Write down how the question ended, and give its unit back if it failed.

    Returns:
        the end user who asked, None if it was none, False if the question was settled before.
    """
    now = timezone.now()
    is_failed = outcome == UsageEntry.Outcome.FAILED
    with connection.cursor() as cursor:
        prepared.execute(cursor, _SETTLE, [outcome, total_ms, now, now if is_failed else None, question_id])
        row = cursor.fetchone()
    if row is None:
        return False
    end_user_id, *counters = row
    if is_failed:
        for counter in filter(None, counters):
            DailyCounter.objects.filter(pk=counter, used__gt=0).update(used=F("used") - 1)
    return cast("uuid.UUID | None", end_user_id)


def allowance(*, tenant: Tenant, end_user: EndUser | None) -> Allowance:
    """Return what the end user, or without one the tenant, has used today."""
    now = timezone.now()
    counter = DailyCounter.objects.for_tenant(tenant).filter(end_user=end_user, day=tenant.day_of(now))
    limit = end_user_limit(tenant, end_user) if end_user is not None else tenant_limit(tenant)
    return Allowance(limit, counter.values_list("used", flat=True).first() or 0, tenant.next_midnight(now))


@transaction.atomic
def reset(*, tenant: Tenant, end_user: EndUser | None = None) -> LimitReset:
    """Let today begin anew for the end user, or for everyone of the tenant."""
    day = tenant.day_of(timezone.now())
    counters = DailyCounter.objects.for_tenant(tenant).filter(day=day)
    if end_user is not None:
        counters = counters.filter(end_user=end_user)
    return LimitReset.objects.create(
        tenant=tenant, end_user=end_user, day=day, reason=LimitReset.Reason.BY_HAND, units=_remove(counters)
    )


@transaction.atomic
def begin_day(*, tenant: Tenant) -> LimitReset | None:
    """Remove the counters of the tenant's days gone by; None if that was done today.

    Nobody waits for it: a day's counter is not another's, so limits are fresh at midnight by themselves.
    """
    day = tenant.day_of(timezone.now())
    reset_row, created = LimitReset.objects.get_or_create(
        tenant=tenant, day=day, reason=LimitReset.Reason.NEW_DAY, defaults={"units": 0}
    )
    if not created:
        return None
    reset_row.units = _remove(DailyCounter.objects.for_tenant(tenant).filter(day__lt=day))
    reset_row.save(update_fields=["units"])
    return reset_row


def _take(tenant: Tenant, end_user: EndUser | None, day: date, limit: int | None, now: datetime) -> int:
    """Count one question and return the counter's id."""
    if limit != 0:
        with connection.cursor() as cursor:
            user_id = end_user.pk if end_user else None
            prepared.execute(cursor, _TAKE, [tenant.pk, user_id, day, _NO_LIMIT if limit is None else limit])
            row = cursor.fetchone()
        if row:
            return int(row[0])
    seconds = (tenant.next_midnight(now) - now).total_seconds()
    raise DailyLimitReachedError(limit=limit or 0, resets_in_seconds=seconds, is_of_user=end_user is not None)


def _remove(counters: QuerySet[DailyCounter]) -> int:
    """Delete the counters and return the end users' units in them; in the order in which questions take them."""
    of_users = counters.filter(end_user__isnull=False)
    units = of_users.aggregate(units=Sum("used"))["units"] or 0
    of_users.delete()
    counters.filter(end_user=None).delete()
    return units
