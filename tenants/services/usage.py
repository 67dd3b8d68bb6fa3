"""Account for questions: take a unit before one is accepted, settle it when it is over; limits and tiers."""

import time
import uuid
from collections.abc import Callable
from datetime import date
from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils import timezone

from core.enqueue import BrokerUnavailableError, publish, send
from tenants import daily_usage, metering, outbox, tasks, tiering
from tenants.daily_usage import Usage
from tenants.errors import TierInvalidError, TierNotFoundError
from tenants.metering import Allowance
from tenants.models import EndUser, EventType, LimitReset, Tenant, TierChange, TierRule, UsageEntry

STATISTICS_EVERY_SECONDS = 5.0
USAGE_DAYS = 30  # when no range is given
SUCCESSES = (UsageEntry.Outcome.ANSWERED, UsageEntry.Outcome.NOT_FOUND)


class Bell:
    """Rings at most once in a while: `update_user_statistics` counts for all, and the sweeper what came after it.

    A task for each question took 9 ms of CPU, counting 20 with one statement takes 1.
    """

    def __init__(self) -> None:
        self._due_at = 0.0

    def is_due(self) -> bool:
        now = time.monotonic()
        if now < self._due_at:
            return False
        self._due_at = now + STATISTICS_EVERY_SECONDS
        return True


statistics_bell = Bell()


def reserve_question(*, tenant: Tenant, end_user: EndUser | None, question_id: uuid.UUID) -> UsageEntry:
    """Take one unit of today's limits for the question; call it in the transaction that stores the question.

    Raises:
        DailyLimitReachedError: if the end user's or the tenant's day is used up; then nothing was taken.
    """
    return metering.reserve(tenant=tenant, end_user=end_user, question_id=question_id)


@transaction.atomic(savepoint=False)
def settle_question(
    *, tenant: Tenant, question_id: uuid.UUID, outcome: str, total_ms: int | None, result: Callable[[], dict[str, Any]]
) -> bool:
    """Account for the end of a question, once; call it in the transaction that stores the answer.

    A failed one gives its unit back. If an endpoint asks for it, a successful one becomes the event
    ``query.answered`` with what ``result`` returns, and `send_query_result_to_users` is
    rung for. The statistics of the end user follow within seconds.
    """
    end_user_id = metering.settle(question_id=question_id, outcome=outcome, total_ms=total_ms)
    if end_user_id is False:
        return False
    key = str(question_id)
    if outcome in SUCCESSES and outbox.is_heard(tenant=tenant, type=EventType.QUERY_ANSWERED):
        outbox.record_event(tenant=tenant, type=EventType.QUERY_ANSWERED, payload=result(), key=key)
        send(tasks.send_query_result_to_users, {"message_id": key}, tenant_id=tenant.pk)
    if end_user_id is not None and statistics_bell.is_due():
        send(tasks.update_user_statistics, {"end_user_id": str(end_user_id)}, tenant_id=tenant.pk)
    return True


def allowance(*, tenant: Tenant, end_user: EndUser | None = None) -> Allowance:
    """Return what the end user, or without one the tenant, has used today and may use."""
    return metering.allowance(tenant=tenant, end_user=end_user)


def reset_limit(*, tenant: Tenant, end_user: EndUser | None = None) -> LimitReset:
    """Let today begin anew for the end user, or without one for everyone of the tenant."""
    return metering.reset(tenant=tenant, end_user=end_user)


def queue_limit_reset(*, end_user: EndUser) -> str:
    """Ring for `reset_user_daily_limit` and return the task's id.

    Raises:
        BrokerUnavailableError: if no worker can be told; nothing waits then.
    """
    task_id = str(uuid.uuid4())
    arguments = {"end_user_id": str(end_user.pk)}
    if not publish(tasks.reset_user_daily_limit, arguments, tenant_id=end_user.tenant_id, task_id=task_id):
        raise BrokerUnavailableError("The workers cannot be reached now; try again.")
    return task_id


def usage_by_day(*, tenant: Tenant, since: date | None = None, until: date | None = None) -> Usage:
    """Return the questions per day, by default of the last 30 days.

    Raises:
        RangeInvalidError: if the range is empty or longer than a year.
    """
    until = until or tenant.day_of(timezone.now())
    if since is None:
        since = date.fromordinal(max(1, until.toordinal() - USAGE_DAYS + 1))
    return daily_usage.usage_by_day(tenant=tenant, since=since, until=until)


@transaction.atomic
def change_end_user(*, end_user: EndUser, changes: dict[str, Any]) -> None:
    """Set what is given: ``tier`` (a name, or None; fixed by hand from then on), ``is_tier_fixed``, ``daily_limit``.

    Raises:
        TierNotFoundError: if the tenant has no such tier.
    """
    if "daily_limit" in changes:
        EndUser.objects.filter(pk=end_user.pk).update(daily_limit=changes["daily_limit"])
    if "tier" in changes:
        fix_tier(end_user=end_user, name=changes["tier"] or "")
    elif changes.get("is_tier_fixed"):
        EndUser.objects.filter(pk=end_user.pk).update(is_tier_fixed=True)
    elif "is_tier_fixed" in changes:
        release_tier(end_user=end_user)


def set_tier_rule(*, tenant: Tenant, name: str, rank: int, **thresholds: int | None) -> TierRule:
    """Create or change a tier; ``thresholds`` are the other fields of `TierRule`. Everyone's tier is then recalculated.

    Raises:
        TierInvalidError: if another tier has the rank, or a value is out of range.
    """
    rule = TierRule.objects.for_tenant(tenant).filter(name=name).first() or TierRule(tenant=tenant, name=name)
    rule.rank = rank
    for field, value in thresholds.items():
        setattr(rule, field, value)
    _save_rule(rule)
    send(tasks.calculate_user_tier, {"tenant_id": str(tenant.pk)}, tenant_id=tenant.pk)
    return rule


@transaction.atomic
def remove_tier_rule(*, tenant: Tenant, name: str) -> None:
    """Delete a tier; who was in it falls to where the other rules put them.

    Raises:
        TierNotFoundError: if the tenant has no such tier.
    """
    _tier(tenant, name).delete()
    send(tasks.calculate_user_tier, {"tenant_id": str(tenant.pk)}, tenant_id=tenant.pk)


def fix_tier(*, end_user: EndUser, name: str) -> TierChange | None:
    """Put the end user into a tier by hand, or with an empty name into none; no rule moves it from then on.

    Raises:
        TierNotFoundError: if the tenant has no such tier.
    """
    return tiering.fix(end_user, _tier(end_user.tenant, name) if name else None)


def release_tier(*, end_user: EndUser) -> None:
    """Let the rules decide the end user's tier again."""
    EndUser.objects.filter(pk=end_user.pk).update(is_tier_fixed=False)
    send(tasks.calculate_user_tier, {"end_user_id": str(end_user.pk)}, tenant_id=end_user.tenant_id)


def _save_rule(rule: TierRule) -> None:
    try:
        rule.clean_fields(exclude=["tenant"])
        with transaction.atomic():
            rule.save()
    except ValidationError as exc:
        raise TierInvalidError("; ".join(exc.messages)) from exc
    except IntegrityError as exc:
        raise TierInvalidError(f"Another tier has the rank {rule.rank}.") from exc


def _tier(tenant: Tenant, name: str) -> TierRule:
    rule = TierRule.objects.for_tenant(tenant).filter(name=name).first()
    if rule is None:
        raise TierNotFoundError(f"There is no tier “{name}”.", pointer="/tier")
    return rule
