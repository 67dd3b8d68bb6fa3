"""Vectors that outlive a run: the embedded model makes four passages a second on a core."""

import hashlib
import sqlite3
from array import array
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from unittest import mock

from knowledge import embeddings


@contextmanager
def kept_vectors(file: Path | None) -> Iterator[None]:
    """Have the model asked only for texts that it was not asked for before, as far as the file tells."""
    if file is None:
        with nullcontext():
            yield
        return
    with closing(sqlite3.connect(file)) as kept:
        kept.execute("CREATE TABLE IF NOT EXISTS vectors (key TEXT PRIMARY KEY, vector BLOB)")
        passages, query = embeddings.embed_passages, embeddings.embed_query

        def embed_passages(texts: list[str], *, model: str = "") -> list[list[float]]:
            return [_kept(kept, "passage", text, partial(_first, passages, text, model)) for text in texts]

        def embed_query(text: str, *, model: str = "") -> list[float]:
            return _kept(kept, "query", text, lambda: query(text, model=model))

        with (
            mock.patch.object(embeddings, "embed_passages", embed_passages),
            mock.patch.object(embeddings, "embed_query", embed_query),
        ):
            yield


def _first(embed: Callable[..., list[list[float]]], text: str, model: str) -> list[float]:
    return embed([text], model=model)[0]


def _kept(kept: sqlite3.Connection, kind: str, text: str, make: Callable[[], list[float]]) -> list[float]:
    key = hashlib.sha256(f"{kind}:{text}".encode()).hexdigest()
    row = kept.execute("SELECT vector FROM vectors WHERE key = ?", [key]).fetchone()
    if row:
        return array("f", row[0]).tolist()
    vector = make()
    kept.execute("INSERT OR IGNORE INTO vectors VALUES (?, ?)", [key, array("f", vector).tobytes()])
    kept.commit()
    return vector
