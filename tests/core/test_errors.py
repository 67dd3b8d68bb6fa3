"""Every error below ``/api/`` is a problem (RFC 9457)."""

import json

import pytest
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.test import Client, override_settings
from django.urls import path
from rest_framework.exceptions import Throttled
from rest_framework.views import APIView

from core import errors, urls
from core.errors import PasokhError
from tenants.services import create_api_key, create_tenant


class TeapotError(PasokhError):
    status = 418
    code = "teapot"
    headers = {"Retry-After": "7"}


class Raises(APIView):
    authentication_classes = permission_classes = ()
    error = ValueError("a secret of the inside")

    def get(self, request):
        raise self.error


def raising(error):
    return Raises.as_view(error=error)


def plain(error):
    def view(request):
        raise error

    return view


urlpatterns = [
    path("api/bug", raising(ValueError("a secret of the inside"))),
    path("api/rule", raising(TeapotError("I am short and stout."))),
    path("api/throttled", raising(Throttled(wait=3))),
    path("api/plain-bug", plain(ValueError("a secret of the inside"))),
    path("api/plain-denied", plain(PermissionDenied("a secret of the inside"))),
    path("api/plain-bad", plain(SuspiciousOperation("a secret of the inside"))),
    path("page-bug", plain(ValueError("a secret of the inside"))),
    *urls.urlpatterns,
]
handler400, handler403 = errors.bad_request, errors.permission_denied
handler404, handler500 = errors.not_found, errors.server_error


@pytest.fixture
def client():
    with override_settings(ROOT_URLCONF=__name__):
        yield Client(raise_request_exception=False)


def is_problem(response, status, code):
    body = response.json()
    assert response.status_code == body["status"] == status
    assert body["code"] == code
    assert response.headers["Content-Type"] == "application/problem+json"
    assert body["request_id"] == response.headers["X-Request-Id"]
    assert {"type", "title", "detail"} <= set(body)
    assert "secret" not in response.content.decode()
    return True


@pytest.mark.parametrize(
    ("address", "status", "code"),
    [
        ("/api/v1/nothing", 404, "not_found"),
        ("/api/bug", 500, "server_error"),
        ("/api/plain-bug", 500, "server_error"),
        ("/api/plain-denied", 403, "permission_denied"),
        ("/api/plain-bad", 400, "bad_request"),
        ("/api/rule", 418, "teapot"),
        ("/api/throttled", 429, "throttled"),
        ("/api/v1/tasks/list", 401, "not_authenticated"),
    ],
)
def test_every_kind_of_failure_is_a_problem(client, address, status, code):
    assert is_problem(client.get(address), status, code)


def test_an_error_may_carry_headers(client):
    assert client.get("/api/rule").headers["Retry-After"] == "7"
    assert client.get("/api/throttled").headers["Retry-After"] == "3"


@pytest.fixture
def caller(db):
    _key, text = create_api_key(tenant=create_tenant(slug="acme"), name="server")
    return Client(headers={"X-API-Key": text}, raise_request_exception=False)


def test_a_wrong_method_is_a_problem(caller):
    response = caller.delete("/api/v1/tasks/list")

    assert is_problem(response, 405, "method_not_allowed")
    assert "GET" in response.headers["Allow"]


def test_a_body_that_is_no_json_is_a_problem(caller):
    response = caller.post("/api/v1/query/", data="{", content_type="application/json")

    assert is_problem(response, 400, "parse_error")


def test_a_media_type_that_is_not_read_is_a_problem(caller):
    response = caller.post("/api/v1/query/", data="<x/>", content_type="text/xml")

    assert is_problem(response, 415, "unsupported_media_type")


def test_invalid_fields_are_named_by_their_pointers(caller):
    response = caller.post("/api/v1/query/", data=json.dumps({"question": 5}), content_type="application/json")

    assert is_problem(response, 400, "invalid")
    assert {error["pointer"] for error in response.json()["errors"]} == {"/question", "/user_id"}


def test_pages_for_people_stay_pages(client):
    response = client.get("/page-bug")

    assert response.status_code == 500
    assert response.headers["Content-Type"].startswith("text/html")
    assert "secret" not in response.content.decode()


def test_a_host_that_is_not_ours_is_a_problem_below_api():
    response = Client(raise_request_exception=False).get("/api/v1/tasks/list", headers={"host": "evil.example"})

    assert is_problem(response, 400, "bad_request")
