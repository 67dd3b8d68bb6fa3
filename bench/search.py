"""How long search takes in a table of 700,000 passages, and what it misses.

``script/bench search`` makes 1,000 tenants with 500 passages each and one with 200,000, lets the product build the
large one's vector index, and asks questions made of words and vectors of real rows; ``--quick`` makes a twentieth.
Times are of `knowledge.search.search` without embedding the question. Recall is that of the 10 nearest vectors, and
of BM25's 10 best passages, against looking at every passage of the tenant.
"""

import argparse
import json
import random
import time
from collections.abc import Callable
from typing import Any, TypeVar
from unittest import mock

from django.conf import settings
from django.db import connection

from bench import figures
from bench import search_material as material
from bench.world import World
from knowledge import large_tenants, search, text_search, vector_search
from knowledge.models import Chunk, SearchModel
from tenants.models import Tenant

LIMIT = 10
QUESTION_WORDS = (3, 8)
ASKING_SECONDS = 150.0  # of asking, whatever the number of questions

T = TypeVar("T")
Question = tuple[Tenant, list[str], list[float]]


def main(here: World) -> None:
    options = _options()
    print(f"search on {figures.machine()}\n")
    maker = material.Maker(options.seed)
    made, filling_s = _timed(
        lambda: material.fill(maker, tenants=options.tenants, chunks=options.chunks, large_chunks=options.large_chunks)
    )
    SearchModel.objects.bulk_create(SearchModel(tenant=tenant, model=material.MODEL) for tenant in made.all())
    settings.SEARCH_EXACT_MAX_CHUNKS = min(settings.SEARCH_EXACT_MAX_CHUNKS, options.large_chunks - 1)
    (_dropped, built), building_s = _timed(large_tenants.maintain_indexes)
    print(f"{filling_s:.0f} s to fill, {building_s:.0f} s to build {len(built)} indexes of the large tenant\n")
    chance = random.Random(options.seed)
    many = [_question(maker, made, chance.choice(made.sampled()), chance) for _ in range(options.questions)]
    large = [_question(maker, made, made.large, chance) for _ in range(options.questions)]
    results = {"many_tenants": _ask(many), "large_tenant": _ask(large)}
    rows = [[name, *(result[figure] for figure in FIGURES)] for name, result in results.items()]
    print(figures.table(["", *FIGURES], rows))
    recall = _recall(large[: options.compared])
    print(f"\nLarge tenant, against every passage: {recall}")
    print(
        figures.last_line(
            "search",
            p95_ms={name: result["p95"] for name, result in results.items()},
            recall_at_10=recall["vectors"],
            text_recall_at_10=recall["words"],
            short_results=sum(result["short"] for result in results.values()),
        )
    )


FIGURES = ("n", "p50", "p95", "p99", "max", "short")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="script/bench search")
    parser.add_argument("--tenants", type=int, default=1000)
    parser.add_argument("--chunks", type=int, default=500, help="of each tenant")
    parser.add_argument("--large-chunks", type=int, default=200_000, help="of the one large tenant")
    parser.add_argument("--questions", type=int, default=400, help="to each kind of tenant")
    parser.add_argument("--compared", type=int, default=40, help="of those, compared with looking at every passage")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    if options.quick:
        options.tenants, options.large_chunks, options.questions, options.compared = 50, 10_000, 100, 20
    return options


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    began = time.perf_counter()
    return work(), time.perf_counter() - began


def _question(maker: material.Maker, made: material.Material, tenant: Tenant, chance: random.Random) -> Question:
    """Return a question that one passage of the tenant answers: some of its words, and a vector near its own."""
    words, vector = chance.choice(made.samples[tenant.pk])
    return tenant, chance.sample(words, chance.randint(*QUESTION_WORDS)), maker.near(vector)


def _ask(questions: list[Question]) -> dict[str, Any]:
    """Return the spread of the times in milliseconds, and how many answers were shorter than they should be."""
    took, short = [], 0
    deadline = time.monotonic() + ASKING_SECONDS
    for tenant, words, vector in questions:
        with mock.patch("knowledge.embeddings.embed_query", return_value=vector):
            passages, seconds = _timed(lambda: search.search(tenant=tenant, query=" ".join(words), limit=LIMIT))  # noqa: B023
        took.append(1000 * seconds)
        short += len(passages) < LIMIT
        if time.monotonic() > deadline:
            break
    return figures.spread(took) | {"short": short}


def _recall(questions: list[Question]) -> dict[str, float]:
    shares: dict[str, list[float]] = {"vectors": [], "words": []}
    for tenant, words, vector in questions:
        terms = list(dict.fromkeys(words))
        found = vector_search.nearest(tenant=tenant, vector=vector, model=material.MODEL, chunks=10**9)
        shares["vectors"].append(_share(list(found), _nearest_of_all(tenant, vector)))
        shares["words"].append(
            _share(list(text_search.find(tenant=tenant, terms=terms).scores), _best_of_all(tenant, terms))
        )
    return {name: round(sum(values) / len(values), 3) for name, values in shares.items()}


def _share(found: list[int], wanted: list[int]) -> float:
    return len(set(found[:LIMIT]) & set(wanted[:LIMIT])) / LIMIT


def _nearest_of_all(tenant: Tenant, vector: list[float]) -> list[int]:
    return list(vector_search.nearest(tenant=tenant, vector=vector, model=material.MODEL, chunks=0))


def _best_of_all(tenant: Tenant, terms: list[str]) -> list[int]:
    """Return BM25's best of all passages that hold any of the words."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT id, word_count, {text_search.MARKS} FROM tenant_knowledge chunk "  # noqa: S608 -- a constant
            "WHERE tenant_id = %(tenant)s AND search_vector @@ %(query)s::tsquery",
            {"terms": terms, "tenant": tenant.pk, "query": " | ".join(f"'{term}'" for term in terms)},
        )
        found = [(chunk_id, length, json.loads(marks)) for chunk_id, length, marks in cursor.fetchall()]
    chunks = Chunk.objects.for_tenant(tenant).count()
    idf = {term: text_search.idf_of(chunks, sum(term in marks for _id, _length, marks in found)) for term in terms}
    return list(text_search.scores(found, idf))
