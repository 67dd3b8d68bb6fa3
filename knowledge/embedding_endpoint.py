"""Vectors from an OpenAI-compatible endpoint (knowledge/embeddings.py)."""

import time
from functools import cache
from typing import TYPE_CHECKING, Any

import httpx2
from django.conf import settings

from knowledge.errors import EmbeddingMismatchError, EmbeddingRefusedError, EmbeddingUnavailableError

if TYPE_CHECKING:
    from knowledge.embeddings import Source

SECOND_TRY_AFTER_SECONDS = 0.5  # of passages; a person who waits for a query's vector is not kept
BUSY = (408, 409, 425, 429)


def ask(source: "Source", texts: list[str], *, is_query: bool = False) -> list[list[float]]:
    """Return what the endpoint sends for the texts, in order; the caller checks shape and number.

    Raises:
        EmbeddingUnavailableError, EmbeddingRefusedError, EmbeddingMismatchError: named after what happened.
    """
    if is_query:
        return _ask_once(source, texts, settings.EMBEDDING_QUERY_TIMEOUT_SECONDS)
    try:
        return _ask_once(source, texts, settings.EMBEDDING_TIMEOUT_SECONDS)
    except EmbeddingUnavailableError:
        time.sleep(SECOND_TRY_AFTER_SECONDS)
        return _ask_once(source, texts, settings.EMBEDDING_TIMEOUT_SECONDS)


def _ask_once(source: "Source", texts: list[str], timeout_seconds: float) -> list[list[float]]:
    request: dict[str, Any] = {"model": source.model, "input": texts, "encoding_format": "float"}
    if source.dimensions:
        request["dimensions"] = source.dimensions
    try:
        reply = _client(source.base_url, source.api_key).post("embeddings", json=request, timeout=timeout_seconds)
    except (httpx2.HTTPError, httpx2.InvalidURL) as exc:
        raise EmbeddingUnavailableError(f"The embedding server does not answer: {type(exc).__name__}") from exc
    status = reply.status_code
    if status in BUSY or status >= 500:  # noqa: PLR2004
        raise EmbeddingUnavailableError(f"The embedding server does not answer: HTTP {status}")
    if not reply.is_success:  # no body in the text, which may repeat the key or the input
        raise EmbeddingRefusedError(f"The embedding server refused: HTTP {status}")
    return _vectors(reply)


def _vectors(reply: httpx2.Response) -> list[list[float]]:
    try:
        rows = sorted(reply.json()["data"], key=lambda row: row["index"])
        return [[float(number) for number in row["embedding"]] for row in rows]
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as exc:
        raise EmbeddingMismatchError("The embedding server's reply holds no vectors.") from exc


@cache
def _client(base_url: str, api_key: str) -> httpx2.Client:
    return httpx2.Client(base_url=base_url, headers={"Authorization": f"Bearer {api_key or 'none'}"})
