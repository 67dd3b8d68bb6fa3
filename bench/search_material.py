"""A table of passages as large as a busy installation's, made in a minute: words by Zipf, vectors in clusters.

Rows go in by binary COPY with the indexes dropped, which are built again at the end; a tenant's documents lie
scattered among the others', as crawls that run side by side leave them.
"""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from django.db import connection
from django.utils import timezone
from numpy.typing import NDArray

from knowledge.models import Document
from tenants.models import Tenant
from tenants.services import create_tenant

MODEL = "bench/clusters"
DIMENSIONS = 384
DOCUMENT_CHUNKS = 10
SAMPLED = 0.01  # of the passages, for questions
BLOCK = 20_000  # rows of one COPY
# A website's own words, stop words left out: the first is in six passages of ten, the hundredth in one of ten.
VOCABULARY = 30_000
ZIPF_SHIFT = 10
CHUNK_WORDS = 80
# Texts of one language share most of their direction (cosines of multilingual-e5-small lie between 0.75 and 0.95), and
# what tells them apart has some thirty directions.
SPREAD_DIRECTIONS = 32
TOPICS = 40  # of one tenant
SHARED, TOPIC, OWN, NOISE = 0.88, 0.35, 0.25, 0.08

_STAGING = """
    CREATE TEMPORARY TABLE staging (
        tenant_id uuid, document_id uuid, chunk_index int, content text, words text, embedding vector
    )
"""
_MOVE = """
    INSERT INTO tenant_knowledge (tenant_id, document_id, chunk_index, heading_path, content, content_hash, embedding,
        embedding_model, next_embedding_model, search_vector, word_count)
    SELECT tenant_id, document_id, chunk_index, '', content, md5(content), embedding, %s, '', words::tsvector, %s
    FROM staging
"""


@dataclass
class Material:
    """The tenants and, of some of their passages, the words and the vector: what questions are made of."""

    tenants: list[Tenant]
    large: Tenant
    samples: dict[uuid.UUID, list[tuple[list[str], NDArray[np.float32]]]]

    def all(self) -> list[Tenant]:
        return [*self.tenants, self.large]

    def sampled(self) -> list[Tenant]:
        """Return the tenants of the usual size of whose passages some are in the sample."""
        return [tenant for tenant in self.tenants if tenant.pk in self.samples]


class Maker:
    """Makes passages; the same seed makes the same ones."""

    def __init__(self, seed: int) -> None:
        self.chance = np.random.default_rng(seed)
        frequency = 1 / (np.arange(VOCABULARY) + ZIPF_SHIFT)
        self._cumulated = np.cumsum(frequency / frequency.sum())
        self._names = np.array([f"w{number:06d}" for number in range(VOCABULARY)], dtype="S7")
        self._shared = self._direction(1)[0]
        self._directions = self._direction(SPREAD_DIRECTIONS)
        self._topics: dict[int, NDArray[np.float32]] = {}

    def words(self, count: int) -> NDArray[np.bytes_]:
        """Return ``count`` rows of words."""
        return self._names[np.searchsorted(self._cumulated, self.chance.random((count, CHUNK_WORDS)))]

    def vectors(self, owners: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return a vector of length 1 for a passage of each of these tenants."""
        topics = np.stack([self._topics_of(owner)[self.chance.integers(TOPICS)] for owner in owners])
        spread = TOPIC * topics + OWN * self._gauss(len(owners), SPREAD_DIRECTIONS)
        return _normal(SHARED * self._shared + spread @ self._directions + NOISE * self._gauss(len(owners), DIMENSIONS))

    def near(self, vector: NDArray[np.float32]) -> list[float]:
        """Return the vector of a question that this passage answers."""
        noise = 0.5 * OWN * self._gauss(1, SPREAD_DIRECTIONS) @ self._directions
        return _normal(vector + noise + NOISE * self._gauss(1, DIMENSIONS))[0].tolist()

    def _topics_of(self, owner: int) -> NDArray[np.float32]:
        if owner not in self._topics:
            self._topics[owner] = self._gauss(TOPICS, SPREAD_DIRECTIONS)
        return self._topics[owner]

    def _direction(self, count: int) -> NDArray[np.float32]:
        return _normal(self.chance.standard_normal((count, DIMENSIONS)).astype("f4"))

    def _gauss(self, count: int, width: int) -> NDArray[np.float32]:
        """Return rows whose length is about 1."""
        return (self.chance.standard_normal((count, width)) / np.sqrt(width)).astype("f4")


def fill(maker: Maker, *, tenants: int, chunks: int, large_chunks: int) -> Material:
    """Store ``tenants`` × ``chunks`` passages and one tenant with ``large_chunks``."""
    owners = [create_tenant(slug=f"tenant-{number}") for number in range(tenants)]
    material = Material(owners, create_tenant(slug="large"), {})
    everybody = material.all()
    owned = np.repeat(np.arange(tenants + 1), [chunks // DOCUMENT_CHUNKS] * tenants + [large_chunks // DOCUMENT_CHUNKS])
    maker.chance.shuffle(owned)
    documents = _documents(everybody, owned)
    with connection.cursor() as cursor:
        indexes = _drop_indexes(cursor)
        cursor.execute("SET session_replication_role = replica")  # foreign keys hold by the way the rows are made
        cursor.execute("SET synchronous_commit = off")
        cursor.execute(_STAGING)
        for first in range(0, len(owned), BLOCK // DOCUMENT_CHUNKS):
            block = slice(first, first + BLOCK // DOCUMENT_CHUNKS)
            _store(cursor, maker, material, list(zip(owned[block], documents[block], strict=True)))
        cursor.execute("RESET session_replication_role")
        cursor.execute("SET maintenance_work_mem = '1GB'")
        for definition in indexes:
            cursor.execute(definition)
        cursor.execute("RESET maintenance_work_mem")
        cursor.execute("VACUUM ANALYZE tenant_knowledge")
    return material


def _documents(everybody: list[Tenant], owned: NDArray[np.int64]) -> list[uuid.UUID]:
    now = timezone.now()
    rows = [
        Document(tenant=everybody[owner], url=f"https://bench.example/{number}", title="", content="", fetched_at=now)
        for number, owner in enumerate(owned)
    ]
    Document.objects.bulk_create(rows, batch_size=5000)
    return [row.pk for row in rows]


def _drop_indexes(cursor: Any) -> list[str]:
    cursor.execute(
        "SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index "
        "WHERE indrelid = 'tenant_knowledge'::regclass AND NOT indisunique"
    )
    indexes = cursor.fetchall()
    for name, _definition in indexes:
        cursor.execute(f"DROP INDEX {name}")
    return [definition for _name, definition in indexes]


def _store(cursor: Any, maker: Maker, material: Material, documents: list[tuple[int, uuid.UUID]]) -> None:
    """Store the passages of documents, each given by its owner's number and its id."""
    everybody = material.all()
    owners = np.repeat([owner for owner, _pk in documents], DOCUMENT_CHUNKS)
    words, vectors = maker.words(len(owners)), maker.vectors(owners)
    tenant_ids = np.array([everybody[owner].pk.bytes for owner, _pk in documents], dtype="S16").repeat(DOCUMENT_CHUNKS)
    document_ids = np.array([pk.bytes for _owner, pk in documents], dtype="S16").repeat(DOCUMENT_CHUNKS)
    cursor.execute("TRUNCATE staging")
    cursor.copy_expert(
        "COPY staging FROM STDIN (FORMAT binary)", BytesIO(_binary(tenant_ids, document_ids, words, vectors))
    )
    cursor.execute(_MOVE, [MODEL, CHUNK_WORDS])
    for row, owner in _some(maker, owners):
        sample = ([word.decode() for word in words[row]], vectors[row])
        material.samples.setdefault(everybody[owner].pk, []).append(sample)


def _some(maker: Maker, owners: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    for row in np.flatnonzero(maker.chance.random(len(owners)) < SAMPLED):
        yield int(row), int(owners[row])


def _binary(tenant_ids: Any, document_ids: Any, words: Any, vectors: Any) -> bytes:
    """Return the rows in COPY's binary format: all fields have a fixed width, so one array holds them."""
    content, literal = _spaced(words), _literal(words)
    values = {
        "tenant": tenant_ids,
        "document": document_ids,
        "index": np.tile(np.arange(DOCUMENT_CHUNKS), len(words) // DOCUMENT_CHUNKS),
        "content": content,
        "literal": literal,
    }
    kinds = {"tenant": "S16", "document": "S16", "index": ">i4", "content": content.dtype, "literal": literal.dtype}
    layout: list[Any] = [("fields", ">i2")]
    for name, kind in kinds.items():
        layout += [(f"{name}_bytes", ">i4"), (name, kind)]
    layout += [("vector_bytes", ">i4"), ("dimensions", ">i2"), ("unused", ">i2"), ("vector", ">f4", (DIMENSIONS,))]
    rows = np.zeros(len(words), dtype=layout)
    rows["fields"] = len(kinds) + 1
    for name, value in values.items():
        rows[name] = value
        rows[f"{name}_bytes"] = np.dtype(kinds[name]).itemsize
    rows["vector"], rows["dimensions"], rows["vector_bytes"] = vectors, DIMENSIONS, 4 + 4 * DIMENSIONS
    return b"PGCOPY\n\xff\r\n\x00" + bytes(8) + rows.tobytes() + b"\xff\xff"


def _spaced(words: Any) -> Any:
    """Return each row's words as one text."""
    parts = np.full(words.shape, b" " * 8, dtype="S8").view([("word", "S7"), ("gap", "S1")])
    parts["word"] = words
    return np.ascontiguousarray(parts).view(f"S{8 * words.shape[1]}").ravel()


def _literal(words: Any) -> Any:
    """Return each row's words as a tsvector literal, with positions."""
    parts = np.zeros(words.shape, dtype=[("word", "S7"), ("place", "S5")])
    parts["word"] = words
    parts["place"] = np.array([f":{place:03d} " for place in range(1, words.shape[1] + 1)], dtype="S5")
    return np.ascontiguousarray(parts).view(f"S{12 * words.shape[1]}").ravel()


def _normal(rows: Any) -> NDArray[np.float32]:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype("f4")
