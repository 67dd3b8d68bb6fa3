"""API keys over HTTP."""

import pytest
from asgiref.sync import sync_to_async
from django.db import connections

from tenants.models import APIKey, IdempotentRequest
from tenants.scopes import Scope
from tenants.services import create_api_key, create_tenant
from tests.api_client import ApiClient, ids, pointers

pytestmark = pytest.mark.django_db


@pytest.fixture
def caller(tenant):
    return ApiClient(create_api_key(tenant=tenant, name="admin", scopes=["admin", "query"])[1])


def test_a_key_is_shown_once_and_works(caller, tenant):
    response = caller.post("api-keys", {"name": "website", "scopes": ["query"]})

    body = response.json()
    assert response.status_code == 201
    assert response.headers["Location"] == f"http://testserver/api/v1/api-keys/{body['id']}"
    assert ApiClient(body["key"]).get("conversations").status_code == 200
    assert ApiClient(body["key"]).get("api-keys").status_code == 403
    assert "key" not in caller.get(f"api-keys/{body['id']}").json()
    assert body["key"] not in caller.get("api-keys").content.decode()
    assert APIKey.objects.get(pk=body["id"]).tenant == tenant


def test_without_scopes_a_key_may_what_the_caller_may(caller):
    assert caller.post("api-keys", {"name": "same"}).json()["scopes"] == ["admin", "query"]


def test_a_key_cannot_give_a_scope_that_it_lacks(caller):
    response = caller.post("api-keys", {"name": "more", "scopes": ["query", "sources", "tasks"]})

    assert (response.status_code, response.json()["code"]) == (403, "scope_not_held")
    assert pointers(response) == ["/scopes"]
    assert not APIKey.objects.filter(name="more").exists()


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, ["/name"]),
        ({"name": ""}, ["/name"]),
        ({"name": None}, ["/name"]),
        ({"name": "x" * 101}, ["/name"]),
        ({"name": "a\u0000b"}, ["/name"]),
        ({"name": "a\ud800b"}, ["/name"]),
        ({"name": "x", "scopes": []}, ["/scopes"]),
        ({"name": "x", "scopes": "query"}, ["/scopes"]),
        ({"name": "x", "scopes": ["query", "root"]}, ["/scopes/1"]),
        ([], ["/non_field_errors"]),
        ("text", ["/non_field_errors"]),
    ],
)
def test_a_key_that_cannot_be_made_names_the_field(caller, body, fields):
    response = caller.post("api-keys", body)

    assert (response.status_code, pointers(response)) == (400, fields)


@pytest.mark.parametrize("body", [b"{", b'{"name": NaN}', b"\xff\xfe", b"[" * 60_000, b""])
def test_a_body_that_is_no_json_is_400(caller, body):
    assert caller.post("api-keys", body).status_code == 400


def test_a_body_that_is_too_large_is_413(caller):
    assert caller.post("api-keys", {"name": "x" * 100_000}).status_code == 413


def test_a_replayed_creation_makes_no_second_key_and_stores_no_secret(caller):
    first = caller.post("api-keys", {"name": "website"}, **{"Idempotency-Key": "k1"})
    again = caller.post("api-keys", {"name": "website"}, **{"Idempotency-Key": "k1"})

    assert again.status_code == 201
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.json() == first.json() | {"key": None}
    assert first.json()["key"] not in IdempotentRequest.objects.get(key="k1").body
    assert APIKey.objects.filter(name="website").count() == 1


@pytest.mark.django_db(transaction=True)
async def test_a_replay_shows_no_secret_where_requests_are_served_asynchronously(async_client, tenant):
    text = (await sync_to_async(create_api_key)(tenant=tenant, name="admin"))[1]
    headers = {"X-API-Key": text, "Idempotency-Key": "k1"}

    answers = [
        await async_client.post("/api/v1/api-keys", {"name": "x"}, content_type="application/json", headers=headers)
        for _turn in range(2)
    ]
    await sync_to_async(connections.close_all)()  # of the thread that served

    assert answers[0].json()["key"].startswith("pk_")
    assert answers[1].json() == answers[0].json() | {"key": None}


def test_a_revoked_key_is_refused_and_stays_in_the_list(caller):
    body = caller.post("api-keys", {"name": "website"}).json()

    assert caller.delete(f"api-keys/{body['id']}").status_code == 204
    assert caller.delete(f"api-keys/{body['id']}").status_code == 204

    assert ApiClient(body["key"]).get("api-keys").status_code == 401
    assert caller.get(f"api-keys/{body['id']}").json()["revoked_at"]


def test_the_list_holds_the_tenants_own_keys_in_two_queries(caller, tenant, django_assert_num_queries):
    mine = [str(create_api_key(tenant=tenant, name=str(number))[0].pk) for number in range(3)]
    create_api_key(tenant=create_tenant(slug="other"), name="theirs")

    with django_assert_num_queries(2):  # the key with its tenant; the keys
        response = caller.get("api-keys", limit=3)

    assert ids(response) == mine[::-1]
    assert response.json()["has_more"] is True


def test_every_scope_can_be_given_by_a_key_that_has_all(tenant):
    caller = ApiClient(create_api_key(tenant=tenant, name="root")[1])

    assert sorted(caller.post("api-keys", {"name": "all"}).json()["scopes"]) == sorted(Scope.values)
