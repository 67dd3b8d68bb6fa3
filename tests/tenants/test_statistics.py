"""Figures that cannot drift, hourly reports, and tiers that follow from them."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.utils import timezone

from tenants import services, statistics, sweeping, tasks
from tenants.errors import TierInvalidError, TierNotFoundError
from tenants.models import EndUser, EndUserDay, EndUserStatistics, TierChange, UsageEntry, UsageHour, WebhookEvent
from tenants.services import usage
from tests.sessions import at_once

pytestmark = pytest.mark.django_db
NOON = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
def end_user(tenant, sent):
    return services.get_end_user(tenant=tenant, external_id="u1")


def question(tenant, end_user, outcome="answered", total_ms=100):
    entry = services.reserve_question(tenant=tenant, end_user=end_user, question_id=uuid.uuid4())
    services.settle_question(tenant=tenant, question_id=entry.pk, outcome=outcome, total_ms=total_ms, result=dict)
    return entry


# --- An end user's figures -------------------------------------------------------------------------------
@pytest.fixture
def unrung(monkeypatch):
    """No question was settled a moment ago."""
    monkeypatch.setattr(usage, "statistics_bell", usage.Bell())


def test_settling_a_question_rings_for_the_statistics_after_the_commit(
    tenant, end_user, sent, unrung, django_capture_on_commit_callbacks
):
    with django_capture_on_commit_callbacks(execute=True):
        question(tenant, end_user)
        assert sent == []
        question(tenant, end_user)  # is counted with it, or by the sweeper

    assert sent == [("tenants.update_user_statistics", {"end_user_id": str(end_user.pk)})]


def test_statistics_count_every_question_once_by_outcome_and_day(tenant, end_user):
    with time_machine.travel(NOON, tick=False) as clock:
        for outcome in ("answered", "answered", "not_found", "stopped", "failed"):
            question(tenant, end_user, outcome)
        clock.shift(timedelta(days=1))
        question(tenant, end_user)
    services.reserve_question(tenant=tenant, end_user=end_user, question_id=uuid.uuid4())  # not over yet

    for _ in range(2):
        tasks.update_user_statistics(end_user_id=str(end_user.pk))

    total = EndUserStatistics.objects.get()
    assert (total.questions, total.answered, total.not_found, total.stopped, total.failed) == (6, 3, 1, 1, 1)
    assert (total.answered_ms, total.active_days) == (300, 2)
    assert (total.first_asked_at, total.last_asked_at) == (NOON, NOON + timedelta(days=1))
    assert sorted(EndUserDay.objects.values_list("questions", flat=True)) == [1, 5]


@pytest.mark.django_db(transaction=True)
def test_statistics_do_not_drift_when_many_count_at_once_while_questions_come_in(tenant, end_user):
    def run(_number):
        for _ in range(8):
            question(tenant, end_user)
            tasks.update_user_statistics(end_user_id=str(end_user.pk))

    at_once(8, run)
    tasks.update_user_statistics(end_user_id=str(end_user.pk))
    assert EndUserStatistics.objects.get().questions == EndUserDay.objects.get().questions == 64


def test_one_task_counts_for_all_end_users_and_the_tiers_of_those_with_rules_follow(tenant, end_user, rules, sent):
    stranger = services.create_tenant(slug="other")
    others = [services.get_end_user(tenant=stranger, external_id=str(number)) for number in range(3)]
    for other in others:
        question(stranger, other)
    question(tenant, end_user)
    sent.clear()

    tasks.update_user_statistics(end_user_id=str(others[0].pk))

    assert EndUserStatistics.objects.filter(questions=1, tenant=stranger).count() == 3
    assert EndUserStatistics.objects.get(end_user=end_user).tenant == tenant
    assert sent == [("tenants.calculate_user_tier", {"end_user_id": str(end_user.pk)})]


def test_more_than_a_batch_is_counted_by_the_tasks_that_follow(tenant, end_user, sent, monkeypatch):
    for _ in range(5):
        question(tenant, end_user)
    monkeypatch.setattr(statistics, "BATCH", 2)
    sent.append(("", {"end_user_id": str(end_user.pk)}))

    while sent:
        tasks.update_user_statistics(**sent.pop()[1])

    assert EndUserStatistics.objects.get().questions == 5


def test_the_sweeper_counts_what_no_worker_has_counted(tenant, end_user):
    question(tenant, end_user)
    assert sweeping.count_left_behind() == 0

    with time_machine.travel(timezone.now() + timedelta(minutes=2)):
        assert sweeping.count_left_behind() == 1
        assert sweeping.count_left_behind() == 0

    assert EndUserStatistics.objects.get().questions == 1


# --- A tenant's hours --------------------------------------------------------------------------------
@pytest.fixture
def listening(tenant, receiver):
    return services.create_endpoint(tenant=tenant, url=receiver.url, event_types=["usage.hourly"])[0]


def test_the_hourly_report_is_written_and_told_once(tenant, end_user, listening):
    with time_machine.travel(NOON, tick=False) as clock:
        for total_ms in range(1, 101):
            question(tenant, end_user, total_ms=total_ms)
        question(tenant, None, "failed")
        clock.move_to(NOON + timedelta(hours=1, seconds=1))
        assert tasks.send_usage_statistics() == {"tenants": 1, "events": 1}
        assert tasks.send_usage_statistics() == {"tenants": 1, "events": 0}

    assert WebhookEvent.objects.get().payload == {
        "starts_at": "2026-01-01T12:00:00+00:00",
        "ends_at": "2026-01-01T13:00:00+00:00",
        "questions": 101,
        "answered": 100,
        "not_found": 0,
        "stopped": 0,
        "failed": 1,
        "active_users": 1,
        "total_ms": {"p50": 50, "p95": 95},
    }


def test_hours_missed_during_an_outage_are_made_up_for_and_no_question_is_left_out(tenant, end_user, listening):
    with time_machine.travel(NOON, tick=False) as clock:
        tasks.send_usage_statistics()
        for _ in range(5):
            question(tenant, end_user)
            clock.shift(timedelta(hours=1))
        assert tasks.send_usage_statistics()["events"] == 5
        clock.shift(timedelta(days=30))
        question(tenant, end_user)
        clock.shift(timedelta(hours=1))
        assert tasks.send_usage_statistics()["events"] == statistics.HOURS_BACK

    assert sum(UsageHour.objects.values_list("questions", flat=True)) == 6
    assert not UsageEntry.objects.filter(hour=None).exists()


def test_a_quiet_hour_that_nobody_is_told_of_leaves_no_row(tenant, end_user):
    with time_machine.travel(NOON, tick=False) as clock:
        question(tenant, end_user)
        clock.shift(timedelta(hours=1))
        tasks.send_usage_statistics()
        clock.shift(timedelta(hours=5))
        tasks.send_usage_statistics()

    assert UsageHour.objects.get().questions == 1


# --- Tiers -------------------------------------------------------------------------------------------
@pytest.fixture
def rules(tenant, sent):
    services.set_tier_rule(tenant=tenant, name="bronze", rank=1)
    services.set_tier_rule(tenant=tenant, name="silver", rank=2, min_questions=3)
    services.set_tier_rule(tenant=tenant, name="gold", rank=3, min_questions=3, min_active_days=2, daily_limit=500)


def tier_of(end_user):
    tasks.update_user_statistics(end_user_id=str(end_user.pk))
    tasks.calculate_user_tier(end_user_id=str(end_user.pk))
    end_user.refresh_from_db()
    return end_user.tier and end_user.tier.name


def test_a_user_rises_and_falls_with_what_it_did_in_the_window_and_each_move_is_kept(tenant, end_user, rules):
    with time_machine.travel(NOON, tick=False) as clock:
        assert tier_of(end_user) == "bronze"
        for _ in range(3):
            question(tenant, end_user)
        assert tier_of(end_user) == "silver"
        clock.shift(timedelta(days=1))
        question(tenant, end_user)
        assert tier_of(end_user) == "gold"
        assert tier_of(end_user) == "gold"
        clock.shift(timedelta(days=31))
        assert tier_of(end_user) == "bronze"

    moves = list(TierChange.objects.order_by("pk").values_list("old_tier", "new_tier"))
    assert moves == [("", "bronze"), ("bronze", "silver"), ("silver", "gold"), ("gold", "bronze")]
    assert TierChange.objects.get(new_tier="gold").figures == {"window_days": 30, "questions": 4, "active_days": 2}


def test_a_tier_given_by_hand_is_left_alone_by_the_rules_until_it_is_released(tenant, end_user, rules):
    services.fix_tier(end_user=end_user, name="gold")
    assert tier_of(end_user) == "gold"

    services.release_tier(end_user=end_user)
    assert tier_of(end_user) == "bronze"


def test_another_tenants_rules_do_not_count(end_user, rules, sent):
    stranger = services.create_tenant(slug="other")
    lonely = services.get_end_user(tenant=stranger, external_id="u1")

    assert tier_of(lonely) is None
    with pytest.raises(TierNotFoundError):
        services.fix_tier(end_user=lonely, name="gold")


def test_everyone_is_recalculated_in_batches(tenant, rules, sent, monkeypatch):
    users = [services.get_end_user(tenant=tenant, external_id=str(number)) for number in range(5)]
    for user in users:
        question(tenant, user)
        tasks.update_user_statistics(end_user_id=str(user.pk))
    sent.clear()
    monkeypatch.setattr(tasks, "TIER_BATCH", 2)

    tasks.calculate_user_tier(tenant_id=str(tenant.pk))
    while sent:
        tasks.calculate_user_tier(**sent.pop(0)[1])

    assert set(EndUser.objects.values_list("tier__name", flat=True)) == {"bronze"}


def test_a_rule_with_a_taken_rank_or_a_bad_name_is_refused(tenant, rules):
    with pytest.raises(TierInvalidError, match="rank 1"):
        services.set_tier_rule(tenant=tenant, name="iron", rank=1)
    with pytest.raises(TierInvalidError):
        services.set_tier_rule(tenant=tenant, name="not a slug", rank=9)
    with pytest.raises(TierInvalidError):
        services.set_tier_rule(tenant=tenant, name="iron", rank=-1)


def test_a_removed_tier_leaves_its_users_to_the_other_rules(tenant, end_user, rules):
    for _ in range(3):
        question(tenant, end_user)
    assert tier_of(end_user) == "silver"

    services.remove_tier_rule(tenant=tenant, name="silver")

    assert tier_of(end_user) == "bronze"
