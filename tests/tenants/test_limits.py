"""Daily limits: exactly as many questions as allowed, in the tenant's own day, given back once when one fails."""

import uuid
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.db import transaction

from tenants import services, tasks
from tenants.errors import DailyLimitReachedError
from tenants.models import DailyCounter, EndUser, LimitReset, Tenant, UsageEntry
from tests.sessions import at_once

pytestmark = pytest.mark.django_db


@pytest.fixture
def end_user(tenant, sent):
    return services.get_end_user(tenant=tenant, external_id="u1")


def limit(tenant, **values):
    Tenant.objects.filter(pk=tenant.pk).update(**values)
    tenant.refresh_from_db()


def ask(tenant, end_user):
    """Reserve a question and return its id."""
    fresh = EndUser.objects.select_related("tenant", "tier").get(pk=end_user.pk) if end_user else None
    return services.reserve_question(tenant=tenant, end_user=fresh, question_id=uuid.uuid4()).pk


def settle(tenant, question_id, outcome):
    return services.settle_question(tenant=tenant, question_id=question_id, outcome=outcome, total_ms=10, result=dict)


def used(tenant, end_user):
    return services.allowance(tenant=tenant, end_user=end_user).used


@pytest.mark.django_db(transaction=True)
def test_a_person_who_asks_several_questions_at_first_sight_is_one_end_user(tenant):
    found = at_once(8, lambda _number: services.get_end_user(tenant=tenant, external_id="new").pk)

    assert set(found) == set(EndUser.objects.values_list("pk", flat=True))
    assert len(set(found)) == 1


@pytest.mark.parametrize("whose", ["end_user_daily_limit", "daily_limit"])
@pytest.mark.django_db(transaction=True)
def test_exactly_the_limit_passes_of_many_parallel_questions(tenant, end_user, whose):
    limit(tenant, **{whose: 60})
    outcomes: Counter[str] = Counter()

    def run(_number):
        for _ in range(10):
            try:
                ask(tenant, end_user)
                outcomes["passed"] += 1
            except DailyLimitReachedError:
                outcomes["refused"] += 1

    at_once(20, run)

    assert outcomes == {"passed": 60, "refused": 140}
    assert UsageEntry.objects.count() == 60


def test_a_refusal_says_what_the_limit_is_and_when_to_come_back(tenant, end_user):
    limit(tenant, end_user_daily_limit=1, time_zone="Asia/Tehran")
    with time_machine.travel(datetime(2026, 1, 1, 20, 0, tzinfo=UTC), tick=False):  # 23:30 in Tehran
        ask(tenant, end_user)
        with pytest.raises(DailyLimitReachedError) as refusal:
            ask(tenant, end_user)

    assert (refusal.value.status, refusal.value.code) == (429, "daily_limit_reached")
    assert refusal.value.headers == {
        "Retry-After": "1800",
        "RateLimit-Policy": '"end-user-daily";q=1;w=86400',
        "RateLimit": '"end-user-daily";r=0;t=1800',
    }


def test_a_day_ends_at_midnight_where_the_tenant_is_without_anything_having_to_run(tenant, end_user):
    limit(tenant, end_user_daily_limit=1, time_zone="Asia/Tehran")
    with time_machine.travel(datetime(2026, 1, 1, 20, 29, tzinfo=UTC), tick=False) as clock:
        ask(tenant, end_user)
        with pytest.raises(DailyLimitReachedError):
            ask(tenant, end_user)
        clock.shift(timedelta(minutes=2))
        assert ask(tenant, end_user)


def test_the_nearest_limit_counts_the_users_then_the_tiers_then_the_tenants_then_the_installations(
    tenant, end_user, settings
):
    def current():
        fresh = EndUser.objects.get(pk=end_user.pk)
        return services.allowance(tenant=fresh.tenant, end_user=fresh).limit

    settings.LIMIT_END_USER_DAILY = 0
    assert current() is None
    settings.LIMIT_END_USER_DAILY = 5
    assert current() == 5
    limit(tenant, end_user_daily_limit=7)
    assert current() == 7
    services.set_tier_rule(tenant=tenant, name="gold", rank=1, daily_limit=50)
    services.fix_tier(end_user=end_user, name="gold")
    assert current() == 50
    EndUser.objects.update(daily_limit=0)
    assert current() == 0
    with pytest.raises(DailyLimitReachedError):
        ask(tenant, end_user)


def test_the_tenants_limit_holds_for_all_its_users_and_takes_nothing_when_it_refuses(tenant, end_user):
    limit(tenant, daily_limit=1)
    other = services.get_end_user(tenant=tenant, external_id="u2")
    ask(tenant, None)  # a member of the staff

    with pytest.raises(DailyLimitReachedError), transaction.atomic():
        ask(tenant, other)

    assert used(tenant, other) == 0
    assert used(tenant, None) == 1


def test_a_failed_question_gives_its_unit_back_once(tenant, end_user):
    limit(tenant, daily_limit=10)
    ask(tenant, end_user)
    failed = ask(tenant, end_user)

    assert settle(tenant, failed, "failed")
    assert not settle(tenant, failed, "failed")

    assert (used(tenant, end_user), used(tenant, None)) == (1, 1)


@pytest.mark.parametrize("outcome", ["answered", "not_found", "stopped"])
def test_a_question_that_was_served_keeps_its_unit(tenant, end_user, outcome):
    settle(tenant, ask(tenant, end_user), outcome)

    assert used(tenant, end_user) == 1


def test_a_refused_question_leaves_nothing_behind_when_its_transaction_is_undone(tenant, end_user):
    with transaction.atomic():
        ask(tenant, end_user)
        transaction.set_rollback(True)

    assert used(tenant, end_user) == 0
    assert not UsageEntry.objects.exists()


def test_a_reset_lets_the_day_begin_anew_and_is_written_down(tenant, end_user):
    limit(tenant, end_user_daily_limit=1)
    ask(tenant, end_user)

    assert tasks.reset_user_daily_limit(end_user_id=str(end_user.pk)) == {"users": 1, "units": 1}

    assert ask(tenant, end_user)
    row = LimitReset.objects.get()
    assert (row.end_user, row.units, row.reason) == (end_user, 1, "by_hand")


def test_a_question_from_before_a_reset_gives_nothing_back_to_the_new_count(tenant, end_user):
    before = ask(tenant, end_user)
    services.reset_limit(tenant=tenant, end_user=end_user)
    ask(tenant, end_user)

    settle(tenant, before, "failed")

    assert used(tenant, end_user) == 1


def test_resetting_an_unknown_user_is_no_error(db):
    assert tasks.reset_user_daily_limit(end_user_id=str(uuid.uuid4())) == {"users": 0, "units": 0}


def test_each_tenants_new_day_begins_at_its_own_midnight_and_once(tenant, sent):
    limit(tenant, time_zone="Asia/Tehran")
    elsewhere = services.create_tenant(slug="elsewhere")
    with time_machine.travel(datetime(2026, 1, 1, 12, 0, tzinfo=UTC), tick=False) as clock:
        tasks.reset_all_daily_limits()
        ask(tenant, services.get_end_user(tenant=tenant, external_id="u"))
        ask(elsewhere, services.get_end_user(tenant=elsewhere, external_id="u"))
        clock.move_to(datetime(2026, 1, 1, 20, 31, tzinfo=UTC))  # past midnight in Tehran alone

        assert tasks.reset_all_daily_limits() == {"tenants": 1, "units": 1}
        assert tasks.reset_all_daily_limits() == {"tenants": 0, "units": 0}

    assert [counter.tenant for counter in DailyCounter.objects.all()] == [elsewhere]
    assert LimitReset.objects.filter(reason="new_day").count() == 3


def test_a_forced_reset_of_all_clears_today_of_every_tenant_or_of_one(tenant, end_user):
    other = services.create_tenant(slug="other")
    ask(tenant, end_user)
    ask(other, services.get_end_user(tenant=other, external_id="u"))
    tasks.reset_all_daily_limits()

    assert tasks.reset_all_daily_limits(tenant_id=str(other.pk), force=True)["units"] == 1
    assert used(tenant, end_user) == 1
    assert tasks.reset_all_daily_limits(force=True)["units"] == 1
    assert used(tenant, end_user) == 0
