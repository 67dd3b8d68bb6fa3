"""End users and usage over HTTP."""

import uuid
from datetime import UTC, date, datetime, timedelta

import pytest
from django.utils import timezone
from kombu.exceptions import OperationalError

from tasks_api.models import TaskRun
from tenants import tasks
from tenants.models import EndUser, EndUserDay, LimitReset, TierChange, UsageEntry
from tenants.services import create_api_key, create_tenant, get_end_user, reserve_question, set_tier_rule
from tests.api_client import ApiClient, ids, pointers

pytestmark = pytest.mark.django_db


@pytest.fixture
def caller(tenant):
    return ApiClient(create_api_key(tenant=tenant, name="server")[1])


@pytest.fixture
def user(tenant, sent):
    set_tier_rule(tenant=tenant, name="gold", rank=1, daily_limit=20, min_questions=10)
    return get_end_user(tenant=tenant, external_id="کاربر ۱")


def test_an_end_user_is_shown_with_today_and_statistics(caller, tenant, user):
    reserve_question(tenant=tenant, end_user=user, question_id=uuid.uuid4())
    EndUser.objects.filter(pk=user.pk).update(daily_limit=5)

    body = caller.get(f"end-users/{user.pk}").json()

    assert (body["user_id"], body["tier"], body["daily_limit"], body["statistics"]) == ("کاربر ۱", None, 5, None)
    assert (body["today"]["limit"], body["today"]["used"], body["today"]["remaining"]) == (5, 1, 4)
    assert datetime.fromisoformat(body["today"]["resets_at"]) > timezone.now()


def test_end_users_are_found_by_their_own_id_and_tier(caller, tenant, user):
    other = get_end_user(tenant=tenant, external_id="2")
    caller.patch(f"end-users/{user.pk}", {"tier": "gold"})
    get_end_user(tenant=create_tenant(slug="other"), external_id="2")

    assert ids(caller.get("end-users", user_id="2")) == [str(other.pk)]
    assert ids(caller.get("end-users", tier="gold")) == [str(user.pk)]
    assert ids(caller.get("end-users")) == [str(other.pk), str(user.pk)]


def test_the_list_takes_two_queries_however_long_it_is(caller, tenant, django_assert_num_queries):
    for number in range(20):
        get_end_user(tenant=tenant, external_id=str(number))

    with django_assert_num_queries(2):  # the key with its tenant; the users with tier and statistics
        caller.get("end-users")


def test_a_tier_is_set_by_hand_taken_away_and_released(caller, user, sent):
    path = f"end-users/{user.pk}"

    gold = caller.patch(path, {"tier": "gold"}).json()
    none = caller.patch(path, {"tier": None}).json()
    sent.clear()
    free = caller.patch(path, {"is_tier_fixed": False}).json()

    assert (gold["tier"], gold["is_tier_fixed"], gold["today"]["limit"]) == ("gold", True, 20)
    assert (none["tier"], none["is_tier_fixed"]) == (None, True)
    assert (free["tier"], free["is_tier_fixed"]) == (None, False)
    assert TierChange.objects.filter(end_user=user, reason="by_hand").count() == 2


def test_a_tier_of_another_tenant_is_not_there_and_changes_nothing(caller, user, sent):
    set_tier_rule(tenant=create_tenant(slug="other"), name="platinum", rank=9)

    response = caller.patch(f"end-users/{user.pk}", {"tier": "platinum", "daily_limit": 7})

    assert (response.status_code, response.json()["code"], pointers(response)) == (404, "tier_not_found", ["/tier"])
    assert EndUser.objects.get(pk=user.pk).daily_limit is None


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"daily_limit": -1}, "/daily_limit"),
        ({"daily_limit": 2**31}, "/daily_limit"),
        ({"daily_limit": "many"}, "/daily_limit"),
        ({"tier": "gold", "is_tier_fixed": False}, "/is_tier_fixed"),
        ({"tier": {}}, "/tier"),
    ],
)
def test_a_change_that_cannot_be_names_the_field(caller, user, body, field):
    response = caller.patch(f"end-users/{user.pk}", body)

    assert (response.status_code, pointers(response)) == (400, [field])


def test_resetting_a_limit_rings_for_the_task_that_does_it(caller, tenant, user, sent):
    reserve_question(tenant=tenant, end_user=user, question_id=uuid.uuid4())
    sent.clear()

    response = caller.post(f"end-users/{user.pk}/reset-limit")

    assert response.status_code == 202
    assert response.headers["Location"].endswith(f"/api/v1/tasks/status/{response.json()['task_id']}")
    ((name, arguments),) = sent
    assert name == "tenants.reset_user_daily_limit"
    tasks.reset_user_daily_limit(**arguments)
    assert LimitReset.objects.get(end_user=user).units == 1
    assert caller.get(f"end-users/{user.pk}").json()["today"]["used"] == 0


def test_a_reset_task_is_the_tenants_own(caller, tenant, redis_client):
    user = get_end_user(tenant=tenant, external_id="1")

    task_id = caller.post(f"end-users/{user.pk}/reset-limit").json()["task_id"]

    assert TaskRun.objects.get(pk=task_id).tenant == tenant
    assert caller.get(f"tasks/status/{task_id}").status_code == 200


def test_a_reset_without_a_broker_is_503(caller, tenant, monkeypatch):
    def fail(*_args, **_options):
        raise OperationalError("away")

    monkeypatch.setattr(tasks.reset_user_daily_limit, "apply_async", fail)

    response = caller.post(f"end-users/{get_end_user(tenant=tenant, external_id='1').pk}/reset-limit")

    assert (response.status_code, response.json()["code"]) == (503, "broker_unavailable")
    assert response.headers["Retry-After"]


def add_day(user, day, **figures):
    EndUserDay.objects.create(tenant=user.tenant, end_user=user, day=day, **figures)


def test_usage_has_every_day_of_the_range_and_nothing_of_others(caller, tenant, user):
    second = get_end_user(tenant=tenant, external_id="2")
    stranger = get_end_user(tenant=create_tenant(slug="other"), external_id="2")
    add_day(user, date(2026, 3, 1), questions=3, answered=2, not_found=1, answered_ms=500)
    add_day(second, date(2026, 3, 1), questions=1, answered=1, answered_ms=100)
    add_day(second, date(2026, 3, 3), questions=2, failed=1, stopped=1)
    add_day(stranger, date(2026, 3, 2), questions=9, answered=9)
    add_day(user, date(2026, 2, 28), questions=9, answered=9)
    asked = datetime(2026, 3, 3, 12, tzinfo=UTC)
    UsageEntry.objects.create(
        id=uuid.uuid4(), tenant=tenant, day=date(2026, 3, 3), outcome="answered", asked_at=asked, settled_at=asked
    )

    body = caller.get("usage", since="2026-03-01", until="2026-03-03").json()

    assert [(day["day"], day["questions"], day["end_users"]) for day in body["days"]] == [
        ("2026-03-01", 4, 2),
        ("2026-03-02", 0, 0),
        ("2026-03-03", 2, 1),
    ]
    assert [day["mean_answer_ms"] for day in body["days"]] == [200, None, None]
    assert [day["member_questions"] for day in body["days"]] == [0, 0, 1]
    total = body["total"]
    assert (total["questions"], total["answered"], total["failed"], total["mean_answer_ms"]) == (6, 3, 1, 200)


def test_usage_ends_today_where_the_tenant_is_unless_a_range_is_given(caller, tenant):
    tenant.time_zone = "Pacific/Kiritimati"
    tenant.save()
    today = tenant.day_of(timezone.now())

    body = caller.get("usage").json()

    assert (body["until"], body["time_zone"]) == (today.isoformat(), "Pacific/Kiritimati")
    assert body["since"] == (today - timedelta(days=29)).isoformat()
    assert len(body["days"]) == 30


def test_usage_takes_four_queries(caller, user, django_assert_num_queries):
    with django_assert_num_queries(4):  # the key with its tenant; days of end users; of members; of tokens
        caller.get("usage", since="2026-01-01", until="2026-12-31")


@pytest.mark.parametrize(
    ("params", "status", "field"),
    [
        ({"since": "yesterday"}, 400, "/since"),
        ({"since": "2026-02-30"}, 400, "/since"),
        ({"since": "2026-03-02", "until": "2026-03-01"}, 422, "/until"),
        ({"since": "2025-03-01", "until": "2026-03-02"}, 422, "/since"),
        ({"since": "0001-01-01", "until": "9999-12-31"}, 422, "/since"),
        ({"until": "0001-01-01", "since": "0001-01-02"}, 422, "/until"),
    ],
)
def test_usage_refuses_a_range_that_cannot_be(caller, params, status, field):
    response = caller.get("usage", **params)

    assert (response.status_code, pointers(response)) == (status, [field])


def test_usage_of_the_first_day_there_is(caller):
    assert caller.get("usage", until="0001-01-01").json()["since"] == "0001-01-01"
