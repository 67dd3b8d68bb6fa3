import asyncio
import json
import uuid
from datetime import datetime

import pytest
from asgiref.sync import sync_to_async
from django.db import connection
from django.utils import timezone

from chat import services
from chat.models import Message
from core.states import State

pytestmark = pytest.mark.django_db(transaction=True)

QUERY = "/api/v1/query/"


@pytest.fixture
def post(async_client, api_key):
    """Return a function that posts JSON as the tenant."""

    async def send(body, path=QUERY, key=api_key, **headers):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = ({"X-API-Key": key} if key else {}) | headers
        return await async_client.post(path, data, content_type="application/json", headers=headers)

    return send


@pytest.fixture
def get(async_client, api_key):
    async def send(path, key=api_key, **headers):
        return await async_client.get(path, headers={"X-API-Key": key} | headers)

    return send


@pytest.fixture
def stranger():
    """The key of another tenant."""
    from tenants import services as tenants

    return tenants.create_api_key(tenant=tenants.create_tenant(slug="stranger"), name="x")[1]


def events(text):
    """Return the (name, data) pairs of an event stream."""
    found = []
    for block in text.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line and not line.startswith(":"))
        if "event" in fields:
            found.append((fields["event"], json.loads(fields["data"]), fields.get("id")))
    return found


async def read(response):
    return b"".join([part async for part in response.streaming_content]).decode()


async def test_a_query_waits_and_returns_the_answer_with_its_source(post, site, worker):
    response = await post({"question": "Within how many days can I return an item?", "user_id": "u1"})

    body = response.json()
    assert response.status_code == 200, body
    assert "within 30 days of delivery. [1]" in body["answer"]
    assert datetime.fromisoformat(body["citations"][0].pop("fetched_at")) <= timezone.now()
    assert body["citations"][0] | {"title": ""} == {
        "n": 1,
        "url": "https://acme.example/refunds",
        "title": "",
        "quote": "You can return any item within 30 days of delivery.",
    }
    assert body["model"] == "extractive"
    assert body["finish_reason"] == "answered"
    assert set(body["timings"]) == {"queue_wait_ms", "first_token_ms", "total_ms"}
    assert all(isinstance(value, int) for value in body["timings"].values())
    for name in ("conversation_id", "message_id", "task_id"):
        uuid.UUID(body[name])
    assert response["Cache-Control"] == "no-store"


async def test_salaam_is_answered_in_persian_without_citations(post, tenant, worker):
    body = (await post({"question": "سلام", "user_id": 7})).json()

    assert body["answer"].startswith("سلام!")
    assert body["citations"] == []
    assert body["finish_reason"] == "answered"


async def test_respond_async_returns_202_and_addresses_that_lead_to_the_answer(post, get, site, worker):
    response = await post({"question": "What does it need on disk?", "user_id": "u"}, Prefer="respond-async, wait=5")

    body = response.json()
    assert response.status_code == 202
    assert response["Preference-Applied"] == "respond-async"
    assert response["Location"] == body["status_url"] == f"http://testserver/api/v1/messages/{body['message_id']}"
    streamed = events(await read(await get(body["stream_url"])))
    assert streamed[-1][0] == "done"
    state = (await get(body["status_url"])).json()
    assert state["state"] == "done"
    assert state == {name: value for name, value in streamed[-1][1].items() if name != "attempt"}


async def test_an_event_stream_carries_the_text_and_ends_with_the_body(post, site, worker):
    response = await post({"question": "How do I install Acme?", "user_id": "u"}, Accept="text/event-stream")

    assert response["Content-Type"].startswith("text/event-stream")
    assert response["X-Accel-Buffering"] == "no"
    assert response["Cache-Control"] == "no-store"
    streamed = events(await read(response))
    text = "".join(data["text"] for name, data, _id in streamed if name == "delta")
    assert "pip install acme" in text
    assert streamed[-1][0] == "done"
    assert streamed[-1][1]["answer"] == text
    assert [name for name, _data, _id in streamed].index("sources") < [name for name, *_ in streamed].index("delta")


async def test_a_stream_goes_on_after_the_last_event_id_and_replays_from_the_row_when_it_is_gone(
    post, get, site, worker, redis_url_client
):
    first = await post({"question": "How do I install Acme?", "user_id": "u"}, Accept="text/event-stream")
    streamed = events(await read(first))
    message_id = streamed[-1][1]["message_id"]
    path = f"/api/v1/messages/{message_id}/stream"

    later = events(await read(await get(path, **{"Last-Event-ID": streamed[1][2]})))
    assert later == streamed[2:]
    by_parameter = events(await read(await get(f"{path}?last_event_id={streamed[1][2]}")))
    assert by_parameter == later

    redis_url_client.delete(f"chat:stream:{message_id}")
    replayed = events(await read(await get(path)))
    assert [name for name, *_ in replayed] == ["reset", "sources", "delta", "done"]
    assert replayed[-1][1]["answer"] == streamed[-1][1]["answer"]


@pytest.fixture
def redis_url_client():
    from core.redis import client

    return client()


async def test_a_conversation_goes_on_for_its_own_end_user_only(post, site, worker):
    first = (await post({"question": "Within how many days can I return an item?", "user_id": "u1"})).json()
    again = {"question": "What cannot be returned?", "conversation_id": first["conversation_id"]}

    mine = await post(again | {"user_id": "u1"})
    other = await post(again | {"user_id": "u2"})
    unknown = await post(again | {"user_id": "u1", "conversation_id": str(uuid.uuid4())})
    nonsense = await post(again | {"user_id": "u1", "conversation_id": "no uuid"})

    assert mine.json()["conversation_id"] == first["conversation_id"]
    assert [other.status_code, unknown.status_code, nonsense.status_code] == [404, 404, 404]
    assert other.json()["code"] == "conversation_not_found"


async def test_another_tenants_message_is_not_there_before_the_body_is_read(post, get, tenant, stranger, rung):
    message = await sync_to_async(services.ask)(tenant=tenant, question="Hello?", user_id="u")
    path = f"/api/v1/messages/{message.pk}"

    assert (await get(path, key=stranger)).status_code == 404
    assert (await get(f"{path}/stream", key=stranger)).status_code == 404
    response = await post(b"{not json", path=f"{path}/stop", key=stranger)
    assert response.status_code == 404
    assert response.json()["code"] == "message_not_found"


async def test_a_missing_or_wrong_key_is_401_as_a_problem(post, tenant):
    for key in ("", "pk_wrong"):
        response = await post({"question": "x", "user_id": "u"}, key=key)
        assert response.status_code == 401
        assert response["Content-Type"] == "application/problem+json"


NESTED = b"[" * 30_000


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "parse_error"),
        (b"\xff\xfe", 400, "parse_error"),
        (b'{"question": NaN, "user_id": "u"}', 400, "parse_error"),
        (NESTED, 400, "parse_error"),
        (b"9" * 5000, 400, "parse_error"),
        (b"[]", 400, "invalid"),
        (b"null", 400, "invalid"),
        (b"{}", 400, "invalid"),
        ({"question": 5, "user_id": "u"}, 400, "invalid"),
        ({"question": ["x"], "user_id": "u"}, 400, "invalid"),
        ({"question": "x"}, 400, "invalid"),
        ({"question": "x", "user_id": None}, 400, "invalid"),
        ({"question": "x", "user_id": True}, 400, "invalid"),
        ({"question": "x", "user_id": ""}, 400, "invalid"),
        ({"question": "x", "user_id": 1.5}, 400, "invalid"),
        ({"question": "x", "user_id": "u" * 201}, 400, "invalid"),
        ({"question": "x", "user_id": "u\x00"}, 400, "invalid"),
        ({"question": "x", "user_id": "u\ud800"}, 400, "invalid"),
        ({"question": "x\x00", "user_id": "u"}, 400, "invalid"),
        ({"question": "x\ud800", "user_id": "u"}, 400, "invalid"),
        ({"question": "x", "user_id": "u", "conversation_id": 5}, 400, "invalid"),
        ({"question": "", "user_id": "u"}, 422, "question_empty"),
        ({"question": " \n\u200c ", "user_id": "u"}, 422, "question_empty"),
        ({"question": "x" * 2001, "user_id": "u"}, 422, "question_too_long"),
        ({"question": "x" * 70_000, "user_id": "u"}, 413, "request_too_large"),
    ],
)
async def test_bad_input_is_a_named_problem(post, rung, body, status, code):
    response = await post(body)

    problem = response.json()
    assert (response.status_code, problem["code"]) == (status, code), problem
    assert response["Content-Type"] == "application/problem+json"
    if code == "invalid":
        assert all(error["pointer"].startswith("/") for error in problem["errors"])
    assert rung == []


async def test_other_methods_and_media_types_are_problems(async_client, get, api_key, tenant):
    assert (await get(QUERY)).status_code == 405
    headers = {"X-API-Key": api_key}
    form = await async_client.post(QUERY, {"question": "x"}, headers=headers)
    assert form.status_code == 415
    picture = await get(f"/api/v1/messages/{uuid.uuid4()}", Accept="image/png")
    assert picture.status_code == 406


async def test_an_unanswered_wait_turns_into_202_and_the_question_stays(post, get, site, rung):
    response = await post({"question": "How do I install Acme?", "user_id": "u"}, Prefer="wait=0")

    assert response.status_code == 202
    assert response.json()["state"] == "queued"
    assert (await get(response.json()["status_url"])).json()["answer"] == ""


async def test_a_client_that_leaves_while_waiting_does_not_stop_the_answer(post, site, worker):
    request = asyncio.create_task(post({"question": "How do I install Acme?", "user_id": "u"}))
    while not await Message.objects.aexists():
        await asyncio.sleep(0.002)
    request.cancel()

    async with asyncio.timeout(20):
        while not await Message.objects.filter(state=State.DONE).aexists():
            await asyncio.sleep(0.02)


async def test_stop_ends_a_queued_message_at_once_and_can_be_repeated(post, get, tenant, rung):
    asked = (await post({"question": "How?", "user_id": "u"}, Prefer="respond-async")).json()

    for _ in range(2):
        stopped = await post(b"", path=asked["stop_url"])
        assert stopped.status_code == 200
        assert (stopped.json()["state"], stopped.json()["finish_reason"]) == ("done", "stopped")
    assert events(await read(await get(asked["stream_url"])))[-1][0] == "done"


async def test_a_failed_answer_is_a_502_problem_with_the_message_id(post, tenant, rung):
    asked = (await post({"question": "How?", "user_id": "u"}, Prefer="respond-async")).json()
    waiting = asyncio.create_task(post({"question": "Why?", "user_id": "u"}))
    while not await Message.objects.filter(question="Why?").aexists():
        await asyncio.sleep(0.01)
    await Message.objects.aupdate(state=State.FAILED, error_code="llm_unavailable", error="No model.")

    response = await waiting

    assert response.status_code == 502
    assert response.json()["code"] == "llm_unavailable"
    assert asked["message_id"] != response.json()["message_id"]


async def test_a_waiting_request_holds_no_database_session(post, tenant, rung, settings):
    settings.DATABASE_SESSION_IDLE_SECONDS = 0  # so that whatever is open is held
    before = await sync_to_async(sessions)()
    waiting = [asyncio.create_task(post({"question": f"Why {n}?", "user_id": "u"}, Prefer="wait=3")) for n in range(20)]
    while await Message.objects.acount() < 20:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)

    assert await sync_to_async(sessions)() <= before + 2
    assert {response.status_code for response in await asyncio.gather(*waiting)} == {202}


def sessions():
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
        return cursor.fetchone()[0]
