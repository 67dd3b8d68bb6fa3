"""A model that hangs or fails, end to end: a real worker, a real web process, and two who ask over HTTP."""

import asyncio
import json

import httpx2
import pytest

from chat.models import Message
from tests.web_process import running_web
from tests.workers import running_worker

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

IMPATIENT = {
    "LLM_FIRST_TOKEN_TIMEOUT_SECONDS": "1",
    "LLM_IDLE_TIMEOUT_SECONDS": "0.6",
    "LLM_MODEL": "as_asked",
    "QUERY_CACHE_ENABLED": "false",
    "EMBEDDING_BASE_URL": "http://127.0.0.1:9",
}
GIVE_UP_SECONDS = 30.0
ENDS = {
    "never_begins": "llm_timeout",
    "hangs": "llm_timeout",  # after half an answer
    "half": "llm_broken_stream",
    "nonsense": "llm_broken_stream",
    "html": "llm_broken_stream",
    "status429": "llm_unavailable",
    "status429_for_long": "llm_unavailable",
    "status429_without_a_time": "llm_unavailable",
    "status500": "llm_unavailable",
    "status401": "llm_refused",
}


@pytest.fixture
def web(site, model_server):
    """A web process and a worker that is soon out of patience with its model; yields the web's URL."""
    with running_web() as (url, _), running_worker(concurrency=50, env=IMPATIENT | {"LLM_BASE_URL": model_server.url}):
        yield url


async def test_each_way_a_model_hangs_or_fails_ends_in_a_clear_state_for_who_waits_and_who_reads(web, api_key):
    async with httpx2.AsyncClient(base_url=web, headers={"X-API-Key": api_key}, timeout=GIVE_UP_SECONDS) as client:
        ends = await asyncio.gather(*(end_of(client, way) for way in ENDS))

    assert dict(zip(ENDS, ends, strict=True)) == {
        way: {"waited": (502, code), "read": ("error", "failed", code), "row": ("failed", "error", code)}
        for way, code in ENDS.items()
    }


async def end_of(client, way):
    body = {"question": f"Within how many days can I return an item? {way}", "user_id": way}
    waited, events = await asyncio.gather(client.post("/api/v1/query/", json=body), read(client, body))
    name, message = events[-1]
    row = await Message.objects.aget(pk=message["message_id"])
    return {
        "waited": (waited.status_code, waited.json()["code"]),
        "read": (name, message["state"], message["error"]["code"]),
        "row": (row.state, row.finish_reason, row.error_code),
    }


async def read(client, body):
    """Return the (name, data) pairs of the stream of an answer."""
    response = await client.post("/api/v1/query/", json=body, headers={"Accept": "text/event-stream"})
    blocks = [dict(line.split(": ", 1) for line in block.splitlines()) for block in response.text.split("\n\n")]
    return [(block["event"], json.loads(block["data"])) for block in blocks if "event" in block]
