"""Ratings, the dates of citations, and which pages are wished to be read again."""

import json
from datetime import date, timedelta

import pytest
from django.contrib.auth.models import User
from django.urls import reverse
from django.utils import timezone, translation

from chat import services, tasks
from chat.models import CachedAnswer, Message
from chat.pages.dates import shown_date, solar_hijri
from chat.pages.presenting import answer_of
from core.states import State
from knowledge.models import Document, Refetch
from tenants import services as tenants

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("rung", "site")]

QUESTION = "Within how many days can I return an item?"
REFUNDS = "https://acme.example/refunds"


@pytest.fixture
def aged(tenant):
    """Let every page be read so many days ago."""

    def age(days):
        Document.objects.for_tenant(tenant).update(fetched_at=timezone.now() - timedelta(days=days))

    return age


@pytest.fixture
def answered(tenant, django_capture_on_commit_callbacks):
    def ask(**who):
        message = services.ask(tenant=tenant, question=QUESTION, **who or {"user_id": "u1"})
        with django_capture_on_commit_callbacks(execute=True):
            tasks.answer_message_task(message_id=str(message.pk))
        message.refresh_from_db()
        return message

    return ask


@pytest.fixture
def api(client, api_key):
    def call(method, message, body=None):
        path = f"/api/v1/messages/{message.pk}/feedback"
        data = {} if body is None else {"data": json.dumps(body), "content_type": "application/json"}
        return getattr(client, method)(path, headers={"X-API-Key": api_key}, **data)

    return call


def wishes():
    return sorted(Refetch.objects.values_list("document__url", "reason"))


def test_every_citation_tells_when_its_page_was_read(answered, aged):
    aged(3)
    message = answered()

    read = Document.objects.get(url=REFUNDS).fetched_at
    assert [citation["fetched_at"] for citation in message.citations] == [read.isoformat()]


def test_a_kept_answer_tells_when_its_page_was_last_found_unchanged(answered, settings, monkeypatch):
    monkeypatch.setattr("chat.answering.caching.may_keep", lambda _passages: True)
    answered()
    Document.objects.update(fetched_at=(later := timezone.now() + timedelta(hours=1)))
    again = answered()

    assert CachedAnswer.objects.count() == 1
    assert again.is_cached
    assert again.citations[0]["fetched_at"] == later.isoformat()


def test_an_answer_from_a_page_older_than_the_tenants_limit_wishes_for_that_page_alone(answered, aged, tenant):
    aged(9)
    answered()
    assert wishes() == [], "30 days by default"

    tenant.fresh_days = 7
    tenant.save()
    answered()
    assert wishes() == [(REFUNDS, "old")]


def test_a_tenant_may_call_every_page_fresh(answered, aged, tenant):
    aged(900)
    tenant.fresh_days = 0
    tenant.save()
    answered()

    assert wishes() == []


def test_a_disliked_answer_wishes_for_its_pages_once_however_many_dislike_it(answered, aged, api):
    aged(1)
    message = answered()
    for _again in range(3):
        body = api("post", message, {"rating": "down"}).json()
    asked_at = Refetch.objects.get().asked_at

    assert body["rating"] == "down"
    assert wishes() == [(REFUNDS, "disliked")]
    api("post", answered(), {"rating": "down"})
    assert Refetch.objects.get().asked_at == asked_at


def test_a_rating_can_be_changed_and_taken_back(answered, api):
    message = answered()

    assert api("post", message, {"rating": "up"}).json()["rating"] == "up"
    assert api("post", message, {"rating": "down"}).json()["rating"] == "down"
    assert api("delete", message).json()["rating"] is None
    message.refresh_from_db()
    assert (message.rating, message.rated_at) == ("", None)
    assert wishes() == [], "read within these hours"


@pytest.mark.parametrize("body", [{}, {"rating": ""}, {"rating": "sideways"}, {"rating": None}, []])
def test_a_rating_that_is_none_is_refused(answered, api, body):
    response = api("post", answered(), body)

    assert (response.status_code, response.json()["code"]) == (400, "invalid")


def test_what_is_not_answered_cannot_be_rated(tenant, api):
    message = services.ask(tenant=tenant, question=QUESTION, user_id="u1")
    response = api("post", message, {"rating": "up"})

    assert (response.status_code, response.json()["code"]) == (409, "message_not_over")


def test_the_page_shows_the_date_and_the_buttons_in_both_languages(answered):
    message = answered()
    Message.objects.filter(pk=message.pk).update(rating="down")
    message.refresh_from_db()
    message.citations[0]["fetched_at"] = "2026-11-22T10:00:00+00:00"

    english = answer_of(message).as_html()
    with translation.override("fa"):
        persian = answer_of(message).as_html()

    assert '<time datetime="2026-11-22T10:00:00+00:00">read on Nov. 22, 2026</time>' in english
    assert "۱ آذر ۱۴۰۵" in persian
    assert english.count('aria-pressed="true"') == 1
    assert 'data-rating="down"' in english
    assert 'aria-label="سودمند بود"' in persian


def test_an_answer_of_the_first_versions_has_no_date(tenant, answered):
    message = answered()
    del message.citations[0]["fetched_at"]

    assert "<time" not in answer_of(message).as_html()


def test_a_member_rates_on_the_page(client, tenant, answered):
    member = User.objects.create_user("mina")
    tenants.add_member(tenant=tenant, user=member)
    message = answered(member=member)
    client.force_login(member)
    path = reverse("chat-rate", args=[message.pk])

    assert client.post(path, {"rating": "up"}).status_code == 204
    assert client.post(path, {"rating": "nonsense"}).status_code == 400
    message.refresh_from_db()
    assert message.rating == "up"
    assert client.post(path, {"rating": ""}).status_code == 204
    Message.objects.filter(pk=message.pk).update(state=State.FAILED)
    assert client.post(path, {"rating": "up"}).status_code == 409


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        (date(2026, 11, 22), (1405, 9, 1)),
        (date(2025, 3, 20), (1403, 12, 30)),  # the last day of a leap year
        (date(2025, 3, 21), (1404, 1, 1)),
        (date(2024, 3, 20), (1403, 1, 1)),
        (date(2017, 3, 20), (1395, 12, 30)),
        (date(1979, 2, 11), (1357, 11, 22)),
        (date(2030, 3, 20), (1408, 12, 30)),
        (date(2000, 9, 22), (1379, 7, 1)),
    ],
)
def test_dates_of_the_solar_hijri_calendar(day, expected):
    assert solar_hijri(day) == expected


def test_dates_are_written_as_the_language_writes_them():
    assert shown_date(date(2026, 11, 22), "fa") == "۱ آذر ۱۴۰۵"
    assert shown_date(date(2026, 11, 22), "en") == "Nov. 22, 2026"
