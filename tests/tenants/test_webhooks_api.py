"""Webhooks over HTTP."""

import uuid
from datetime import timedelta

import pytest
from django.utils import timezone

from core.states import State
from tenants import signing
from tenants.models import IdempotentRequest, WebhookDelivery, WebhookEndpoint
from tenants.services import create_api_key, create_endpoint, create_tenant, disable_endpoint, emit, send_test_event
from tests.api_client import ApiClient, ids, pointers

pytestmark = pytest.mark.django_db
URL = "https://acme.example/hook"


@pytest.fixture(autouse=True)
def nothing_is_sent(sent):
    return sent


@pytest.fixture
def caller(tenant):
    return ApiClient(create_api_key(tenant=tenant, name="server")[1])


@pytest.fixture
def endpoint(tenant):
    return create_endpoint(tenant=tenant, url=URL)[0]


def deliver(tenant, endpoint, state=State.DONE):
    event = emit(tenant=tenant, type="usage.hourly", payload={"questions": 1})
    delivery = WebhookDelivery.objects.get(event=event, endpoint=endpoint)
    WebhookDelivery.objects.filter(pk=delivery.pk).update(state=state, attempts=3, finished_at=timezone.now())
    return delivery


def test_an_endpoint_is_created_with_a_secret_that_is_shown_once(caller, tenant):
    response = caller.post("webhooks/endpoints", {"url": URL, "event_types": ["query.answered"], "description": "CRM"})

    body = response.json()
    assert response.status_code == 201
    assert response.headers["Location"].endswith(f"/api/v1/webhooks/endpoints/{body['id']}")
    row = WebhookEndpoint.objects.get(pk=body["id"])
    assert (row.tenant, row.event_types, body["secret"]) == (tenant, ["query.answered"], signing.secret_of(row))
    assert "secret" not in caller.get(f"webhooks/endpoints/{row.pk}").json()
    assert body["secret"] not in caller.get("webhooks/endpoints").content.decode()


@pytest.mark.parametrize("action", ["create", "rotate"])
def test_no_secret_is_stored_with_an_idempotency_key(caller, endpoint, action):
    path = "webhooks/endpoints" + (f"/{endpoint.pk}/rotate-secret" if action == "rotate" else "")
    first = caller.post(path, {"url": URL}, **{"Idempotency-Key": "k"})
    again = caller.post(path, {"url": URL}, **{"Idempotency-Key": "k"})

    assert first.json()["secret"].startswith("whsec_")
    assert again.json() == first.json() | {"secret": None}
    assert "whsec_" not in IdempotentRequest.objects.get().body
    assert WebhookEndpoint.objects.count() == (2 if action == "create" else 1)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "/url"),
        ({"url": "not a url"}, "/url"),
        ({"url": "ftp://acme.example/"}, "/url"),
        ({"url": "http://127.0.0.1/hook"}, "/url"),
        ({"url": "http://169.254.169.254/latest"}, "/url"),
        ({"url": "https://user:pass@acme.example/"}, "/url"),
        ({"url": URL + "x" * 2000}, "/url"),
        ({"url": URL, "event_types": ["everything"]}, "/event_types/0"),
        ({"url": URL, "event_types": "all"}, "/event_types"),
        ({"url": URL, "description": "x" * 201}, "/description"),
    ],
)
def test_an_endpoint_that_cannot_be_names_the_field(caller, body, field):
    response = caller.post("webhooks/endpoints", body)

    assert (response.status_code, pointers(response)) == (400, [field])
    assert not WebhookEndpoint.objects.exists()


def test_an_endpoint_is_changed_switched_off_and_on(caller, endpoint):
    path = f"webhooks/endpoints/{endpoint.pk}"

    changed = caller.patch(path, {"event_types": ["usage.hourly"], "is_enabled": False}).json()
    back = caller.patch(path, {"is_enabled": True}).json()

    assert (changed["event_types"], changed["is_enabled"]) == (["usage.hourly"], False)
    assert (changed["disabled_reason"], changed["url"]) == ("by_hand", URL)
    assert (back["is_enabled"], back["disabled_reason"], back["event_types"]) == (True, "", ["usage.hourly"])


def test_a_change_obeys_the_same_rules(caller, endpoint):
    response = caller.patch(f"webhooks/endpoints/{endpoint.pk}", {"url": "http://10.0.0.1/"})

    assert (response.status_code, pointers(response)) == (400, ["/url"])
    assert WebhookEndpoint.objects.get().url == URL


def test_a_deleted_endpoint_takes_its_deliveries_but_not_the_others(caller, tenant, endpoint):
    other, _secret = create_endpoint(tenant=tenant, url=URL + "2")
    deliver(tenant, endpoint)

    assert caller.delete(f"webhooks/endpoints/{endpoint.pk}").status_code == 204

    assert list(WebhookDelivery.objects.values_list("endpoint", flat=True)) == [other.pk]
    assert caller.get(f"webhooks/endpoints/{endpoint.pk}").status_code == 404


def test_a_test_event_is_queued_for_this_endpoint_alone(caller, tenant, endpoint):
    create_endpoint(tenant=tenant, url=URL + "2")

    response = caller.post(f"webhooks/endpoints/{endpoint.pk}/test")

    body = response.json()
    assert (response.status_code, body["type"], body["state"]) == (202, "webhook.test", "queued")
    assert response.headers["Location"].endswith(f"/webhooks/deliveries/{body['id']}")
    assert WebhookDelivery.objects.get().endpoint == endpoint


@pytest.mark.parametrize("action", ["test", "replay", "delivery"])
def test_nothing_is_sent_to_an_endpoint_that_is_switched_off(caller, tenant, endpoint, action):
    delivery = deliver(tenant, endpoint)
    disable_endpoint(endpoint=endpoint)
    span = {"since": "2026-01-01T00:00:00Z", "until": "2026-01-02T00:00:00Z"}
    path = f"webhooks/deliveries/{delivery.pk}/replay" if action == "delivery" else None

    response = caller.post(path or f"webhooks/endpoints/{endpoint.pk}/{action}", span)

    assert (response.status_code, response.json()["code"]) == (409, "webhook_disabled")


def test_deliveries_are_listed_by_state_endpoint_event_and_type(caller, tenant, endpoint):
    other, _secret = create_endpoint(tenant=tenant, url=URL + "2", event_types=["webhook.test"])
    failed = deliver(tenant, endpoint, State.FAILED)
    done = deliver(tenant, endpoint)
    test = send_test_event(endpoint=other)

    assert ids(caller.get("webhooks/deliveries")) == [str(row.pk) for row in (test, done, failed)]
    assert ids(caller.get("webhooks/deliveries", state="failed")) == [str(failed.pk)]
    assert ids(caller.get("webhooks/deliveries", endpoint=other.pk)) == [str(test.pk)]
    assert ids(caller.get("webhooks/deliveries", event=done.event_id)) == [str(done.pk)]
    assert ids(caller.get("webhooks/deliveries", type="webhook.test")) == [str(test.pk)]


def test_another_tenants_ids_as_filters_find_nothing(caller):
    theirs, _secret = create_endpoint(tenant=create_tenant(slug="other"), url=URL)
    delivery = send_test_event(endpoint=theirs)

    for params in ({"endpoint": theirs.pk}, {"event": delivery.event_id}, {"endpoint": uuid.uuid4()}, {}):
        assert caller.get("webhooks/deliveries", **params).json()["data"] == []


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"state": "lost"}, "/state"),
        ({"endpoint": "1"}, "/endpoint"),
        ({"event": "x"}, "/event"),
        ({"type": ""}, "/type"),
    ],
)
def test_a_filter_that_cannot_be_is_named(caller, params, field):
    response = caller.get("webhooks/deliveries", **params)

    assert (response.status_code, pointers(response)) == (400, [field])


def test_the_lists_take_two_queries_however_long_they_are(caller, tenant, endpoint, django_assert_num_queries):
    for _ in range(5):
        deliver(tenant, endpoint)

    for path in ("webhooks/deliveries", "webhooks/endpoints"):
        with django_assert_num_queries(2):  # the key with its tenant; the rows
            caller.get(path)


def test_a_delivery_is_shown_with_payload_and_attempts_and_sent_again(caller, tenant, endpoint):
    delivery = deliver(tenant, endpoint, State.FAILED)
    delivery.attempt_log.create(
        tenant=tenant, number=1, status=500, error="", response_excerpt="no", duration_ms=7, started_at=timezone.now()
    )
    path = f"webhooks/deliveries/{delivery.pk}"

    body = caller.get(path).json()
    again = caller.post(f"{path}/replay")

    assert (body["payload"], body["state"], body["attempts"]) == ({"questions": 1}, "failed", 3)
    assert [(attempt["number"], attempt["status"]) for attempt in body["attempt_log"]] == [(1, 500)]
    assert again.status_code == 202
    assert (again.json()["state"], again.json()["attempts"], again.json()["event_id"]) == (
        "queued",
        0,
        str(delivery.event_id),
    )


def test_a_time_span_is_sent_again_what_was_missed_or_all(caller, tenant, endpoint):
    deliver(tenant, endpoint, State.FAILED)
    deliver(tenant, endpoint)
    now = timezone.now()
    span = {"since": (now - timedelta(hours=1)).isoformat(), "until": (now + timedelta(hours=1)).isoformat()}
    path = f"webhooks/endpoints/{endpoint.pk}/replay"

    missed = caller.post(path, span)
    again = caller.post(path, span | {"again": True})

    assert (missed.status_code, missed.json()) == (202, {"count": 1})
    assert again.json() == {"count": 1}  # the missed one is on its way already
    assert set(WebhookDelivery.objects.values_list("state", flat=True)) == {"queued"}


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        ({"since": None}, ["/since"]),
        ({"until": "soon"}, ["/until"]),
        ({"until": "2025-01-01T00:00:00Z"}, ["/until"]),
        ({"again": "perhaps"}, ["/again"]),
    ],
)
def test_a_time_span_that_cannot_be_names_the_field(caller, endpoint, change, fields):
    span = {"since": "2026-01-01T00:00:00Z", "until": "2026-01-02T00:00:00Z"}

    response = caller.post(f"webhooks/endpoints/{endpoint.pk}/replay", span | change)

    assert (response.status_code, pointers(response)) == (400, fields)
