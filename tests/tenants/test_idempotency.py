"""``Idempotency-Key``: a POST that is sent again is served once."""

import json
import threading
from datetime import timedelta

import pytest
from asgiref.sync import sync_to_async
from django.db import connection, connections
from django.test import AsyncClient, Client, override_settings
from django.urls import path
from django.utils import timezone
from rest_framework.exceptions import Throttled
from rest_framework.response import Response
from rest_framework.views import APIView

from chat.models import Message
from core import urls
from core.errors import PasokhError
from core.redis import client as redis
from tenants import idempotency
from tenants.models import IdempotentRequest
from tenants.permissions import Callers
from tenants.services import create_api_key, create_operator_key, create_tenant

served = []
go_on = threading.Event()


class TooManyError(PasokhError):
    status = 409
    code = "clash"


ENDINGS = {"bug": ValueError("bug"), "clash": TooManyError("clash"), "throttled": Throttled(wait=1)}


class CountingView(APIView):
    callers = Callers.BOTH

    def post(self, request):
        served.append(request.data)
        if ending := ENDINGS.get(request.data.get("ending")):
            raise ending
        if request.data.get("ending") == "wait":
            assert go_on.wait(20)
        return Response({"number": len(served)}, status=201, headers={"Location": f"/things/{len(served)}"})


urlpatterns = [path("api/v1/things", CountingView.as_view()), *urls.urlpatterns]


@pytest.fixture(autouse=True)
def addresses():
    served.clear()
    go_on.clear()
    with override_settings(ROOT_URLCONF=__name__):
        yield


@pytest.fixture
def tenant(db):
    return create_tenant(slug="acme")


@pytest.fixture
def api_key(tenant):
    return create_api_key(tenant=tenant, name="server")[1]


def post(api_key, body=None, *, key="order-1", address="/api/v1/things", **headers):
    return Client(raise_request_exception=False).post(
        address,
        data=json.dumps(body or {}),
        content_type="application/json",
        headers={"X-API-Key": api_key, "Idempotency-Key": key} | headers,
    )


def test_the_second_sending_gets_the_first_answer(api_key):
    first, second = post(api_key, {"a": 1}), post(api_key, {"a": 1})

    assert len(served) == 1
    assert (second.status_code, second.content) == (201, first.content)
    assert second.headers["Location"] == "/things/1"
    assert second.headers["Content-Type"] == "application/json"
    assert second.headers["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first.headers


def test_a_request_without_the_header_is_served_each_time(api_key):
    for _ in range(2):
        Client(headers={"X-API-Key": api_key}).post("/api/v1/things", "{}", content_type="application/json")

    assert len(served) == 2


def test_another_body_under_the_same_key_is_refused(api_key):
    post(api_key, {"a": 1})

    response = post(api_key, {"a": 2})

    assert (response.status_code, response.json()["code"]) == (422, "idempotency_key_reused")
    assert len(served) == 1


def test_another_address_under_the_same_key_is_refused(api_key):
    post(api_key)

    assert post(api_key, address="/api/v1/query/").status_code == 422


def test_another_tenant_may_use_the_same_key(api_key):
    post(api_key)
    post(create_api_key(tenant=create_tenant(slug="other"), name="server")[1])

    assert len(served) == 2


def test_an_operators_requests_are_kept_too(db):
    api_key = create_operator_key(name="platform")[1]

    assert post(api_key).content == post(api_key).content
    assert len(served) == 1


@pytest.mark.parametrize("ending", ["bug", "clash", "throttled"])
def test_an_answer_that_may_end_differently_is_not_kept(api_key, ending):
    for _ in range(2):
        response = post(api_key, {"ending": ending})

    assert len(served) == 2
    assert "Idempotent-Replayed" not in response.headers
    assert not IdempotentRequest.objects.exists()


def test_a_refused_key_leaves_nothing(db):
    assert post("pk_0000000000000000." + "x" * 43).status_code == 401
    assert not IdempotentRequest.objects.exists()


@pytest.mark.parametrize("key", ["", "x" * 256, "with space", "سلام"])
def test_a_key_that_cannot_be_one_is_refused(api_key, key):
    response = post(api_key, key=key)

    assert (response.status_code, response.json()["code"]) == (400, "idempotency_key_invalid")


def test_a_stream_cannot_be_asked_for_twice(api_key):
    response = post(api_key, address="/api/v1/query/", Accept="text/event-stream")

    assert (response.status_code, response.json()["code"]) == (400, "idempotency_key_on_stream")


def test_a_day_later_the_key_is_free_again(api_key):
    post(api_key, {"a": 1})
    IdempotentRequest.objects.update(created_at=timezone.now() - timedelta(hours=25))

    assert post(api_key, {"a": 2}).status_code == 201
    assert len(served) == 2


def test_a_request_whose_process_died_may_be_sent_again(api_key, tenant):
    post(api_key)
    IdempotentRequest.objects.update(status=None, locked_until=timezone.now() + timedelta(minutes=1))
    assert post(api_key).status_code == 409

    IdempotentRequest.objects.update(locked_until=timezone.now() - timedelta(seconds=1))

    assert post(api_key).status_code == 201


def test_old_answers_are_forgotten_in_bounded_batches(api_key):
    for number in range(3):
        post(api_key, key=f"order-{number}")
    IdempotentRequest.objects.exclude(key="order-2").update(created_at=timezone.now() - timedelta(hours=25))

    assert idempotency.forget_old(limit=1) == 1
    assert idempotency.forget_old() == 1
    assert IdempotentRequest.objects.get().key == "order-2"


def in_thread(*args, **kwargs):
    answers = []

    def run():
        try:
            answers.append(post(*args, **kwargs))
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    return thread, answers


@pytest.mark.django_db(transaction=True)
def test_while_the_first_is_served_a_second_waits_its_turn(api_key):
    thread, answers = in_thread(api_key, {"ending": "wait"})
    while not served:
        pass

    response = post(api_key, {"ending": "wait"})
    go_on.set()
    thread.join()

    assert (response.status_code, response.json()["code"]) == (409, "idempotency_key_in_flight")
    assert response.headers["Retry-After"] == "1"
    assert answers[0].status_code == 201


@pytest.mark.django_db(transaction=True)
def test_of_many_at_once_exactly_one_is_served(api_key):
    go_on.set()
    running = [in_thread(api_key, {"ending": "wait"}) for _ in range(12)]
    for thread, _answers in running:
        thread.join()

    statuses = [answers[0].status_code for _thread, answers in running]
    assert len(served) == 1
    assert set(statuses) <= {201, 409}


@pytest.mark.django_db(transaction=True)
async def test_a_question_that_is_sent_again_is_asked_once(tenant, api_key):
    ask = {
        "path": "/api/v1/query/",
        "data": json.dumps({"question": "How long?", "user_id": "u1"}),
        "content_type": "application/json",
        "headers": {"X-API-Key": api_key, "Idempotency-Key": "question-1", "Prefer": "respond-async"},
    }
    first = await AsyncClient().post(**ask)
    second = await AsyncClient().post(**ask)
    redis().flushdb()

    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json() == second.json()
    assert second.headers["Location"] == first.headers["Location"]
    assert second.headers["Preference-Applied"] == "respond-async"
    assert await Message.objects.acount() == 1
    await sync_to_async(connections.close_all)()  # of the thread that served
