"""Vectors from an OpenAI-compatible endpoint; loaded only where one is set (knowledge/embeddings.py)."""

from functools import cache
from typing import TYPE_CHECKING, Any

import openai
from django.conf import settings

from knowledge.errors import EmbeddingMismatchError, EmbeddingRefusedError, EmbeddingUnavailableError

if TYPE_CHECKING:
    from knowledge.embeddings import Source


def ask(source: "Source", texts: list[str], *, is_query: bool = False) -> list[list[float]]:
    """Return what the endpoint sends for the texts, in order; the caller checks shape and number.

    Raises:
        EmbeddingUnavailableError, EmbeddingRefusedError, EmbeddingMismatchError: named after what happened.
    """
    client = _client(source.base_url, source.api_key)
    if is_query:  # a person waits
        client = client.with_options(timeout=settings.EMBEDDING_QUERY_TIMEOUT_SECONDS, max_retries=0)
    try:
        reply = client.embeddings.create(
            model=source.model, input=texts, encoding_format="float", dimensions=source.dimensions or openai.omit
        )
    except (openai.APIConnectionError, openai.RateLimitError, openai.InternalServerError) as exc:
        raise EmbeddingUnavailableError(f"The embedding server does not answer: {_reason(exc)}") from exc
    except openai.APIStatusError as exc:
        raise EmbeddingRefusedError(f"The embedding server refused: {_reason(exc)}") from exc
    except (openai.OpenAIError, ValueError, TypeError) as exc:
        raise EmbeddingMismatchError(f"The embedding server's reply is not understood: {_reason(exc)}") from exc
    return _vectors(reply)


def _vectors(reply: Any) -> list[list[float]]:
    """Return the reply's vectors in order; the SDK does not check what a server sends."""
    try:
        rows = sorted(reply.data, key=lambda row: row.index)
        return [[float(number) for number in row.embedding] for row in rows]
    except (AttributeError, TypeError, ValueError) as exc:
        raise EmbeddingMismatchError("The embedding server's reply holds no vectors.") from exc


def _reason(exc: Exception) -> str:
    """Return a short text for logs and rows: no body of the reply, which may repeat the key or the input."""
    status = getattr(exc, "status_code", None)
    return f"{type(exc).__name__} (HTTP {status})" if status else type(exc).__name__


@cache
def _client(base_url: str, api_key: str) -> openai.OpenAI:
    return openai.OpenAI(
        base_url=base_url, api_key=api_key or "none", timeout=settings.EMBEDDING_TIMEOUT_SECONDS, max_retries=1
    )
