"""A model server that only keeps time: ``uvicorn bench.fake_llm:application``.

It speaks the OpenAI streaming protocol and always takes the same time, so that what a benchmark measures is the
product and not a model: one pause, then words at a steady rate. ``FAKE_LLM_*`` in the environment set the times.
"""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from typing import Any

FIRST_TOKEN_SECONDS = float(os.environ.get("FAKE_LLM_FIRST_TOKEN_SECONDS", "0.3"))
TOKENS_PER_SECOND = float(os.environ.get("FAKE_LLM_TOKENS_PER_SECOND", "20"))
TOKENS = int(os.environ.get("FAKE_LLM_TOKENS", "60"))
MODEL = "fake"

Send = Callable[[dict[str, Any]], Awaitable[None]]


async def application(scope: dict[str, Any], receive: Callable[[], Awaitable[dict[str, Any]]], send: Send) -> None:
    """Answer ``POST …/chat/completions`` with a stream, ``GET …/models`` with the one model, anything else with 404."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    if scope["path"].endswith("/chat/completions"):
        await _stream(send)
    elif scope["path"].endswith("/models"):
        await _reply(send, 200, {"object": "list", "data": [{"id": MODEL, "object": "model"}]})
    else:
        await _reply(send, 404, {"error": {"message": "no such path"}})


def ideal_seconds(tokens: int = TOKENS) -> float:
    """Return how long one answer takes if nothing but this server costs time."""
    return FIRST_TOKEN_SECONDS + tokens / TOKENS_PER_SECOND


async def _stream(send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    loop = asyncio.get_running_loop()
    begin = loop.time() + FIRST_TOKEN_SECONDS
    for number in range(TOKENS):
        await asyncio.sleep(max(0.0, begin + number / TOKENS_PER_SECOND - loop.time()))
        await _event(send, {"content": "So says the page [1]. " if number == TOKENS - 1 else f"word{number} "}, None)
    await asyncio.sleep(max(0.0, begin + TOKENS / TOKENS_PER_SECOND - loop.time()))
    await _event(send, {}, "stop")
    await send({"type": "http.response.body", "body": b"data: [DONE]\n\n", "more_body": False})


async def _event(send: Send, delta: dict[str, str], finish_reason: str | None) -> None:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    chunk = {"id": "x", "object": "chat.completion.chunk", "created": 0, "model": MODEL, "choices": [choice]}
    await send({"type": "http.response.body", "body": f"data: {json.dumps(chunk)}\n\n".encode(), "more_body": True})


async def _reply(send: Send, status: int, body: dict[str, Any]) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": json.dumps(body).encode()})
