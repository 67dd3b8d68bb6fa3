"""Which tier an end user is in, by the tenant's own rules."""

import uuid
from dataclasses import asdict, dataclass
from datetime import date, timedelta

from django.db import transaction
from django.db.models import Count, Q, Sum
from django.utils import timezone

from tenants.models import EndUser, EndUserDay, Tenant, TierChange, TierRule


@dataclass(frozen=True)
class Activity:
    """What the end user did in a window of days that ends today."""

    window_days: int
    questions: int  # answered ones
    active_days: int


@transaction.atomic
def calculate(end_user_id: uuid.UUID) -> TierChange | None:
    """Move the end user to the highest tier whose thresholds are met; None if it stays, or is fixed by hand."""
    end_user = EndUser.objects.select_for_update(of=("self",)).filter(pk=end_user_id).first()
    if end_user is None or end_user.is_tier_fixed:
        return None
    today = end_user.tenant.day_of(timezone.now())
    known: dict[int, Activity] = {}
    for rule in TierRule.objects.filter(tenant=end_user.tenant_id).order_by("-rank"):
        activity = known.setdefault(rule.window_days, _activity(end_user, today, rule.window_days))
        if activity.questions >= rule.min_questions and activity.active_days >= rule.min_active_days:
            return _move(end_user, rule, TierChange.Reason.RULES, asdict(activity))
    return _move(end_user, None, TierChange.Reason.RULES, {})


@transaction.atomic
def fix(end_user: EndUser, rule: TierRule | None) -> TierChange | None:
    """Put the end user into the tier by hand, where no rule moves it."""
    locked = EndUser.objects.select_for_update(of=("self",)).get(pk=end_user.pk)
    EndUser.objects.filter(pk=locked.pk).update(is_tier_fixed=True)
    return _move(locked, rule, TierChange.Reason.BY_HAND, {})


def batch_of_users(*, tenant: Tenant, after: uuid.UUID | None, limit: int) -> list[uuid.UUID]:
    """Return the next end users, by id, whom rules may move: those in a tier or with any activity."""
    users = EndUser.objects.for_tenant(tenant).filter(Q(tier__isnull=False) | Q(statistics__isnull=False))
    if after is not None:
        users = users.filter(pk__gt=after)
    return list(users.filter(is_tier_fixed=False).order_by("pk").values_list("pk", flat=True)[:limit])


def _activity(end_user: EndUser, today: date, window_days: int) -> Activity:
    days = EndUserDay.objects.filter(end_user=end_user, day__gt=today - timedelta(days=window_days))
    figures = days.aggregate(questions=Sum("answered"), active_days=Count("pk"))
    return Activity(window_days, figures["questions"] or 0, figures["active_days"])


def _move(end_user: EndUser, rule: TierRule | None, reason: str, figures: dict[str, int]) -> TierChange | None:
    if end_user.tier_id == (rule.pk if rule else None):
        return None
    old = end_user.tier.name if end_user.tier else ""
    EndUser.objects.filter(pk=end_user.pk).update(tier=rule)
    return TierChange.objects.create(
        tenant_id=end_user.tenant_id,
        end_user=end_user,
        old_tier=old,
        new_tier=rule.name if rule else "",
        reason=reason,
        figures=figures,
    )
