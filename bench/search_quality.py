"""How often search puts the right passage first, and how well it knows that there is none.

``script/bench search_quality --data DIR`` reads question sets from DIR/NAME/{paragraphs,questions}.jsonl: paragraphs
``{paragraph_id, title, text}``, questions ``{question, paragraph_id, answers}``; no answers where the text has none.
Each paragraph becomes a page. Embedding takes minutes: ``--cache FILE`` keeps the vectors between runs.
"""

import argparse
import json
import pickle
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

from django.utils import timezone

from bench import figures
from bench.world import World
from knowledge import embeddings, services, tasks
from knowledge.errors import EmbeddingUnavailableError
from knowledge.models import Chunk, SyncItem
from knowledge.search import search
from tenants.models import Tenant
from tenants.services import create_tenant

SEED = 7
TOP = 10


def main(here: World) -> None:
    options = _options()
    print(f"search_quality on {figures.machine()}\n")
    results = {}
    for folder in sorted(path for path in options.data.iterdir() if (path / "questions.jsonl").exists()):
        results[folder.name] = _measure(folder, options)
    names = ["words", "meaning", "both"]
    rows = [
        [name, result["paragraphs"], result["questions"]]
        + [" ".join(f"{result[mode][figure]:.3f}" for figure in ("r1", "r5", "mrr")) for mode in names]
        for name, result in results.items()
    ]
    print(figures.table(["set", "paragraphs", "questions", *(f"{mode} (R@1 R@5 MRR)" for mode in names)], rows))
    print("\nBest of the first three passages, cosine + 0.1 coverage, at least 0.88:")
    rows = [[name, *(result["signal"].get(kind, "–") for kind in KINDS)] for name, result in results.items()]
    print(figures.table(["set", *KINDS], rows))
    print(figures.last_line("search_quality", **results))


KINDS = ("answerable", "unanswerable", "another subject")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="script/bench search_quality")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--paragraphs", type=int, default=500)
    parser.add_argument("--questions", type=int, default=500)
    return parser.parse_args()


def _measure(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    chance = random.Random(SEED)
    paragraphs = _lines(folder / "paragraphs.jsonl")
    paragraphs = chance.sample(paragraphs, min(options.paragraphs, len(paragraphs)))
    known, titles = {row["paragraph_id"] for row in paragraphs}, {row["title"] for row in paragraphs}
    questions = [row for row in _lines(folder / "questions.jsonl") if row.get("paragraph_id")]
    chance.shuffle(questions)
    inside = [row for row in questions if row["paragraph_id"] in known]
    answerable = [row for row in inside if row["answers"]][: options.questions]
    tenant = create_tenant(slug=folder.name.replace("_", "-"))
    _learn(tenant, paragraphs, options.cache)
    result: dict[str, Any] = {
        "paragraphs": len(paragraphs),
        "chunks": Chunk.objects.for_tenant(tenant).count(),
        "questions": len(answerable),
    }
    if answerable:
        for mode, only in {"words": _words_only, "meaning": _meaning_only, "both": nullcontext}.items():
            with only():
                result[mode] = _ranks(tenant, answerable)
    kinds = {
        "answerable": answerable,
        "unanswerable": [row for row in inside if not row["answers"]],
        "another subject": _foreign(options.data, folder.name, titles, chance),
    }
    result["signal"] = {kind: _share_kept(tenant, rows[:200]) for kind, rows in kinds.items() if rows}
    return result


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _foreign(data: Path, name: str, titles: set[str], chance: random.Random) -> list[dict[str, Any]]:
    """Return questions about articles of which not one paragraph is known, in the same language."""
    rows = []
    for folder in data.iterdir():
        if folder.name.rpartition("_")[2] == name.rpartition("_")[2] and (folder / "questions.jsonl").exists():
            title_of = {row["paragraph_id"]: row["title"] for row in _lines(folder / "paragraphs.jsonl")}
            rows += [
                row
                for row in _lines(folder / "questions.jsonl")
                if row.get("paragraph_id") and title_of[row["paragraph_id"]] not in titles
            ]
    chance.shuffle(rows)
    return rows


def _learn(tenant: Tenant, paragraphs: list[dict[str, Any]], cache: Path | None) -> None:
    with mock.patch.object(tasks.sync_embeddings_task, "delay"):
        for row in paragraphs:
            services.store_page(
                tenant=tenant,
                url=row["paragraph_id"],
                title=row["title"],
                language="",
                content=row["text"],
                fetched_at=timezone.now(),
            )
        vectors = pickle.loads(cache.read_bytes()) if cache and cache.exists() else {}  # noqa: S301 -- our own file
        chunks = Chunk.objects.for_tenant(tenant)
        for chunk in chunks.filter(content_hash__in=list(vectors)).only("content_hash"):
            Chunk.objects.filter(pk=chunk.pk).update(
                embedding=vectors[chunk.content_hash], embedding_model=embeddings.model_id()
            )
        for item in SyncItem.objects.for_tenant(tenant):
            tasks.sync_embeddings_task(document_id=str(item.document_id))
    if cache:
        vectors |= {chunk.content_hash: list(chunk.embedding) for chunk in chunks.only("content_hash", "embedding")}
        cache.write_bytes(pickle.dumps(vectors))


def _ranks(tenant: Tenant, questions: list[dict[str, Any]]) -> dict[str, float]:
    ranks, took = [], []
    for row in questions:
        began = time.perf_counter()
        found = [passage.url for passage in search(tenant=tenant, query=row["question"], limit=TOP)]
        took.append(1000 * (time.perf_counter() - began))
        ranks.append(found.index(row["paragraph_id"]) + 1 if row["paragraph_id"] in found else None)
    count = len(ranks)
    return {
        "r1": sum(rank == 1 for rank in ranks) / count,
        "r5": sum(rank is not None and rank <= 5 for rank in ranks) / count,
        "mrr": sum(1 / rank for rank in ranks if rank) / count,
        "ms_p50": figures.percentile(took, 0.5),
        "ms_p95": figures.percentile(took, 0.95),
    }


def _share_kept(tenant: Tenant, questions: list[dict[str, Any]]) -> str:
    """Return the share of the questions for which the passages look as if they held an answer."""
    kept = 0
    for row in questions:
        passages = search(tenant=tenant, query=row["question"], limit=3)
        kept += max((p.cosine or 0) + 0.1 * p.coverage for p in passages) >= 0.88 if passages else False
    return f"{kept / len(questions):.0%} of {len(questions)} kept"


@contextmanager
def _words_only() -> Iterator[None]:
    failing: Callable[..., Any] = mock.Mock(side_effect=EmbeddingUnavailableError("not in this measurement"))
    with mock.patch("knowledge.embeddings.embed_query", failing):
        yield


@contextmanager
def _meaning_only() -> Iterator[None]:
    with mock.patch("knowledge.search.words", return_value=[]):
        yield
