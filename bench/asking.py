"""Ask questions over HTTP at a fixed rate, as the outside world does, and measure each wait."""

import asyncio
import json
import time
from dataclasses import dataclass

import httpx2

from bench import words

TIMEOUT_SECONDS = 60.0
BEGUN_EVENT = "status"


@dataclass(frozen=True)
class Sample:
    """One answered question: waits in milliseconds, the client's own counted from when the question was due."""

    queue_wait_ms: float
    client_wait_ms: float
    total_ms: float
    queued: int


class AskingError(Exception):
    """A question was refused or its answer did not come."""


async def ask_at_fixed_rate(address: str, key: str, *, count: int, per_second: float, backlog) -> list[Sample]:
    """Ask ``count`` questions, each at its time whether or not those before are answered.

    ``backlog()`` returns how much background work is queued; it is read as each question is sent.
    """
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=50)
    async with httpx2.AsyncClient(base_url=address, timeout=TIMEOUT_SECONDS, limits=limits, trust_env=False) as client:
        begin = time.perf_counter() + 0.1
        async with asyncio.TaskGroup() as group:
            running = []
            for number in range(count):
                due = begin + number / per_second
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                running.append(group.create_task(_ask(client, key, number, due, backlog())))
    return [task.result() for task in running]


async def leave_at_fixed_rate(address: str, key: str, *, count: int, per_second: float) -> list[str]:
    """Ask without waiting for answers, and return the ids of the messages."""
    headers = {"X-API-Key": key, "Prefer": "respond-async"}
    ids = []
    async with httpx2.AsyncClient(base_url=address, timeout=TIMEOUT_SECONDS, trust_env=False) as client:
        for number in range(count):
            body = {"question": words.question(number), "user_id": f"user-{number}"}
            response = await client.post("/api/v1/query/", json=body, headers=headers)
            if response.status_code != 202:
                raise AskingError(f"{response.status_code}: {response.text[:500]}")
            ids.append(response.json()["message_id"])
            await asyncio.sleep(1 / per_second)
    return ids


async def _ask(client: httpx2.AsyncClient, key: str, number: int, due: float, queued: int) -> Sample:
    headers = {"X-API-Key": key, "Accept": "text/event-stream"}
    body = {"question": words.question(number), "user_id": f"user-{number}"}
    begun, event = 0.0, ""
    async with client.stream("POST", "/api/v1/query/", json=body, headers=headers) as response:
        if response.status_code != 200:
            raise AskingError(f"{response.status_code}: {(await response.aread()).decode(errors='replace')[:500]}")
        async for line in response.aiter_lines():
            name, _, value = line.partition(":")
            if name == "event":
                event = value.strip()
            if name == "data":
                data = json.loads(value)
                if event == BEGUN_EVENT and data.get("state") != "queued":
                    begun = begun or time.perf_counter()
                if event == "error":
                    raise AskingError(value)
                if event == "done":
                    now = time.perf_counter()
                    wait = data["timings"]["queue_wait_ms"]
                    return Sample(wait, ((begun or now) - due) * 1000, (now - due) * 1000, queued)
    raise AskingError("the stream ended without an answer")
