"""A receiver of webhooks that fails at random: ``uvicorn bench.receiver:application``.

``POST`` anything: 204, or for a share of requests 500. ``GET /``: what arrived, as JSON: how often each id was
accepted, how many requests were refused, and the last requests as they were, for verifying their signatures.
"""

import json
import os
import random
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from typing import Any

FAILING_SHARE = float(os.environ.get("RECEIVER_FAILING_SHARE", "0.3"))
SEED = 20261121

Send = Callable[[dict[str, Any]], Awaitable[None]]

dice = random.Random(SEED)
accepted: Counter[str] = Counter()
refused: Counter[str] = Counter()
last: deque[dict[str, Any]] = deque(maxlen=20)


async def application(scope: dict[str, Any], receive: Callable[[], Awaitable[dict[str, Any]]], send: Send) -> None:
    if scope["type"] != "http":
        return
    body = await _body(receive)
    if scope["method"] == "GET":
        report = {"accepted": accepted, "refused": refused.total(), "last": list(last)}
        await _reply(send, 200, json.dumps(report).encode())
        return
    headers = {name.decode(): value.decode() for name, value in scope["headers"]}
    last.append({"headers": headers, "body": body.decode()})
    is_failing = dice.random() < FAILING_SHARE
    (refused if is_failing else accepted)[headers["webhook-id"]] += 1
    await _reply(send, 500 if is_failing else 204, b"")


async def _body(receive: Callable[[], Awaitable[dict[str, Any]]]) -> bytes:
    parts, more = [], True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(parts)


async def _reply(send: Send, status: int, body: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": body})
