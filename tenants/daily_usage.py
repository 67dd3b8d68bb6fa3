"""How much was asked on each day of a range, from figures that were counted once (tenants/statistics.py)."""

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from django.db.models import Count, Sum

from tenants.errors import RangeInvalidError
from tenants.models import EndUserDay, Tenant, TokenDay, UsageEntry

DAYS_MAX = 366
TOKENS = ("prompt_tokens", "answer_tokens", "cost_micros")
COUNTS = ("questions", "answered", "not_found", "stopped", "failed")


@dataclass(frozen=True)
class Usage:
    """``days`` has every day of the range, the first one first; ``total`` sums what can be summed."""

    since: date
    until: date
    time_zone: str
    days: list[dict[str, Any]]
    total: dict[str, Any]


def usage_by_day(*, tenant: Tenant, since: date, until: date) -> Usage:
    """Return the tenant's questions per day, both days included.

    Raises:
        RangeInvalidError: if the range is empty or longer than `DAYS_MAX`.
    """
    if since > until:
        raise RangeInvalidError("until must not be before since.", pointer="/until")
    if (until - since).days >= DAYS_MAX:
        raise RangeInvalidError(f"At most {DAYS_MAX} days can be asked for at once.", pointer="/since")
    counted = _of_end_users(tenant, since, until)
    members = _of_members(tenant, since, until)
    tokens = _of_tokens(tenant, since, until)
    empty = dict.fromkeys((*COUNTS, *TOKENS, "end_users", "answered_ms"), 0)
    days = [
        empty | counted.get(day, {}) | tokens.get(day, {}) | {"day": day, "member_questions": members.get(day, 0)}
        for day in (since + timedelta(days=number) for number in range((until - since).days + 1))
    ]
    total = {name: sum(day[name] for day in days) for name in (*COUNTS, *TOKENS, "answered_ms", "member_questions")}
    for figures in (*days, total):
        figures["cost"] = figures["cost_micros"] / 1_000_000
        figures["mean_answer_ms"] = round(figures["answered_ms"] / figures["answered"]) if figures["answered"] else None
    return Usage(since, until, tenant.time_zone, days, total)


def _of_end_users(tenant: Tenant, since: date, until: date) -> dict[date, dict[str, Any]]:
    sums = {name: Sum(name) for name in (*COUNTS, "answered_ms")}
    rows = EndUserDay.objects.for_tenant(tenant).filter(day__gte=since, day__lte=until).values("day")
    return {row["day"]: dict(row) for row in rows.annotate(end_users=Count("pk"), **sums).order_by()}


def _of_tokens(tenant: Tenant, since: date, until: date) -> dict[date, dict[str, Any]]:
    rows = TokenDay.objects.for_tenant(tenant).filter(day__gte=since, day__lte=until)
    return {row["day"]: row for row in rows.values("day", *TOKENS)}


def _of_members(tenant: Tenant, since: date, until: date) -> dict[date, int]:
    rows = UsageEntry.objects.for_tenant(tenant).filter(end_user=None, settled_at__isnull=False)
    counts = rows.filter(day__gte=since, day__lte=until).values("day").annotate(count=Count("pk")).order_by()
    return {row["day"]: row["count"] for row in counts}
