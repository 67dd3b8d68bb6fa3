"""Find the passages that may answer a question: by its words and by its meaning, fused by rank."""

import logging
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property, partial
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection

from core.postgres import prepared
from knowledge import beside, embeddings, search_model, text_search, vector_search
from knowledge.embeddings import EmbeddingError
from knowledge.text import distinct_words, words
from tenants.models import Tenant

QUERY_WORDS_MAX = 32
SPARE = 20  # passages read beyond the limit, for those that repeat or have just gone
# Measured in docs/quality.md. A first rank is worth 1/11, a highest score 1: the score says how far one is ahead, the
# rank keeps a list whose scores lie close together from being overruled.
RRF_K = 10
SCORE_WEIGHT = 1.0

# By hand: as a queryset it took 2 ms of CPU more for every question. A vector of another model, or of another length
# under the same name, compares with nothing.
_READ = """
    SELECT chunk.id, chunk.content_hash, chunk.heading_path, chunk.content, document.id, document.url, document.title,
        document.fetched_at,
        CASE WHEN embedding_model = %(model)s AND vector_dims(embedding) = vector_dims(asked)
            THEN 1 - (embedding <=> asked)
            WHEN next_embedding_model = %(model)s AND vector_dims(next_embedding) = vector_dims(asked)
            THEN 1 - (next_embedding <=> asked)
        END
    FROM tenant_knowledge chunk JOIN knowledge_document document ON document.id = chunk.document_id,
        (SELECT %(vector)s::vector AS asked) question
    WHERE chunk.tenant_id = %(tenant)s AND chunk.id = ANY(%(ids)s)
"""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Passage:
    """``score`` orders one search's passages and compares with nothing else. ``cosine`` is None without a vector."""

    chunk_id: int
    document_id: UUID
    url: str
    title: str
    heading_path: str
    content: str
    fetched_at: datetime
    score: float
    cosine: float | None
    hits: text_search.WordHits = field(repr=False)

    @cached_property
    def coverage(self) -> float:
        """The share (0..1) of the question's words found in the passage, rare words weighing more."""
        return self.hits.coverage(distinct_words(f"{self.title}\n{self.heading_path}\n{self.content}"))


def search(*, tenant: Tenant, query: str, limit: int = 8) -> list[Passage]:
    """Return the tenant's passages nearest to the question, best first, each text once.

    Works on words alone where vectors are still missing or the embedding model fails.
    """
    terms = list(dict.fromkeys(words(query)))[:QUERY_WORDS_MAX]
    find = partial(text_search.find, tenant=tenant, terms=terms)
    if chunks := text_search.known_size(tenant):
        found_by_words = beside.start(find)  # takes longer than the vectors do, and as long as embedding the question
        vector, model, near = _by_meaning(tenant, query, chunks)
        hits = found_by_words()
    else:
        hits = find()
        if not hits.chunks:
            return []
        vector, model, near = _by_meaning(tenant, query, hits.chunks)
    scores = fuse(hits.scores, near)
    wanted = {*[*scores][: limit + SPARE], *[*hits.scores][:limit]}
    found = _read(tenant, wanted, near, vector, model)
    if near and (unembedded := {row.chunk_id for row in found if row.cosine is None}):
        scores = fuse(hits.scores, near, unembedded)
    return _passages(found, scores, hits, limit)


def fuse(
    by_words: dict[int, float], by_meaning: dict[int, float], unembedded: Collection[int] = ()
) -> dict[int, float]:
    """Return the fusion of two rankings by reciprocal rank and a share of each scaled score, best first.

    The words of passages that have no vector yet count for their meaning as well: else, as long as a site is being
    embedded, whatever is embedded already would come before the page that holds the answer.

    Source: Cormack, Clarke & Büttcher, Reciprocal Rank Fusion (SIGIR 2009); Bruch, Gai & Ingber, An Analysis of
    Fusion Functions for Hybrid Retrieval (TOIS 2023), for what the scores add.
    """
    # Cosines of one model lie close together, far from 0: the lowest candidate is their zero. BM25 has its own.
    scores: dict[int, float] = {}
    for ranking, low in ((by_words, 0.0), (by_meaning, min(by_meaning.values(), default=0.0))):
        span = max(ranking.values(), default=0.0) - low
        for rank, (chunk_id, score) in enumerate(ranking.items(), start=1):
            scaled = (score - low) / span if span else 1.0
            scores[chunk_id] = scores.get(chunk_id, 0.0) + 1 / (RRF_K + rank) + SCORE_WEIGHT * scaled
    for chunk_id in unembedded:
        scores[chunk_id] *= 2
    return dict(sorted(scores.items(), key=lambda item: (-item[1], item[0])))


def _by_meaning(tenant: Tenant, query: str, chunks: int) -> tuple[list[float] | None, str, dict[int, float]]:
    """Return the question's vector, whose model that is, and the cosine of the passages nearest to it."""
    model = search_model.of(tenant)
    vector = _vector_of(query, model)
    near = vector_search.nearest(tenant=tenant, vector=vector, model=model, chunks=chunks) if vector else {}
    return vector, model, near


def _vector_of(query: str, model: str) -> list[float] | None:
    """Return the question's vector, or None, saying so once, while the model fails."""
    try:
        vector = embeddings.embed_query(query, model=model)
    except EmbeddingError as exc:
        if model not in _failing:
            logger.warning("searching by words alone: %s", exc)
        _failing.add(model)
        return None
    if model in _failing:
        logger.info("searching by meaning again")
    _failing.discard(model)
    return vector


_failing: set[str] = set()


class _Row(NamedTuple):
    chunk_id: int
    content_hash: str
    heading_path: str
    content: str
    document_id: UUID
    url: str
    title: str
    fetched_at: datetime
    cosine: float | None


def _read(
    tenant: Tenant, chunk_ids: set[int], near: dict[int, float], vector: list[float] | None, model: str
) -> list[_Row]:
    """Return the passages' rows; the cosines of those that are not among the nearest are asked for with them."""
    needed = None if chunk_ids <= near.keys() else vector
    asked: dict[str, Any] = {
        "tenant": tenant.knowledge_id,
        "ids": list(chunk_ids),
        "vector": vector_search.written(needed) if needed else None,
        "model": model,
    }
    with connection.cursor() as cursor:
        prepared.execute(cursor, _READ, asked)
        rows = [_Row(*row) for row in cursor.fetchall()]
    return rows if needed else [row._replace(cosine=near.get(row.chunk_id)) for row in rows]


def _passages(found: list[_Row], scores: dict[int, float], hits: text_search.WordHits, limit: int) -> list[Passage]:
    """Return the passages, best first; of passages with equal text only the best."""
    ranked = sorted(found, key=lambda row: (-scores[row.chunk_id], row.chunk_id))
    best = {row.content_hash: row for row in reversed(ranked)}
    unique = [row for row in ranked if best[row.content_hash] is row]
    return [_passage(row, scores[row.chunk_id], hits) for row in unique[:limit]]


def _passage(row: _Row, score: float, hits: text_search.WordHits) -> Passage:
    return Passage(
        chunk_id=row.chunk_id,
        document_id=row.document_id,
        url=row.url,
        title=row.title,
        heading_path=row.heading_path,
        content=row.content,
        fetched_at=row.fetched_at,
        score=score,
        cosine=row.cosine,
        hits=hits,
    )
