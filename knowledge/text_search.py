"""Find a tenant's passages by the words they share with the question: BM25 over PostgreSQL's word index.

Up to `EXACT_MAX_CHUNKS` every passage with any of the words is weighed. In a larger tenant a frequent word alone is in
more passages than can be read in time; there a sample of the passages (`knowledge.word_sample`) tells how often each
word occurs and which combinations of words are so rare that only their passages need reading.
"""

import json
import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from django.db import connection

from core.postgres import prepared
from knowledge import word_index
from knowledge.models.documents import SAMPLED_EVERY
from knowledge.word_sample import Sample, samples
from tenants.models import Tenant

CANDIDATES = 100
EXACT_MAX_CHUNKS = 10_000
READ_MAX = 1000  # passages of a large tenant whose word lists are read
SCORED_MAX = 50  # of those, the ones whose words' places are listed
ENOUGH = 30  # to fill any answer; with fewer, lighter passages are looked for
READ_AIMS = (150, 1500)  # so many passages are expected to weigh what a candidate must; the next where not enough do
ROUNDING = 1e-6  # of a sum whose terms were added in another order
COMBINED_WORDS_MAX = 6  # the rarest words of a long question; with more, combinations grow out of hand
# Source: Robertson & Zaragoza, The Probabilistic Relevance Framework (2009), 3.4–3.5; values as in Anserini.
BM25_K1 = 0.9
BM25_B = 0.4
# Two words that follow each other in the question and in the passage: this much of their mean idf more.
# Source: Metzler & Croft, A Markov Random Field Model for Term Dependencies (SIGIR 2005), sequential dependence.
PAIR_WEIGHT = 0.6
# What one occurrence counts for: in the title, in a heading, in the text.
OCCURRENCE = {"A": 2.0, "B": 2.0, "D": 1.0}

MARKS = """
    (SELECT jsonb_object_agg(lexeme, jsonb_build_array(weights, positions)) FROM unnest(chunk.search_vector)
    WHERE lexeme = ANY(%(terms)s))
"""
# The sum of the found words' idf picks the candidates: it needs the index alone. Only the candidates' own word
# lists, which mostly lie out of the row, are read, for the number of times each word occurs.
_FIND = f"""
    {prepared.BY_INDEX}
    WITH total AS MATERIALIZED (
        SELECT count(*) AS chunks
        FROM (SELECT FROM tenant_knowledge WHERE tenant_id = %(tenant)s LIMIT %(most)s + 1) counted
    ),
    term AS (
        SELECT word, quote_literal(word) AS asked FROM unnest(%(terms)s::text[]) AS word
        WHERE (SELECT chunks FROM total) <= %(most)s
    ),
    hit AS MATERIALIZED (
        SELECT term.word, chunk.id FROM term CROSS JOIN LATERAL (
            SELECT id FROM tenant_knowledge WHERE {word_index.IN_SHARED}
        ) chunk
    ),
    frequency AS MATERIALIZED (
        SELECT word, count, ln(1 + (total.chunks - count + 0.5::float8) / (count + 0.5::float8)) AS idf
        FROM (SELECT word, count(*) AS count FROM hit GROUP BY word) counted CROSS JOIN total
    ),
    candidate AS (
        SELECT hit.id, sum(idf) AS weight FROM hit JOIN frequency USING (word)
        GROUP BY hit.id ORDER BY weight DESC, hit.id LIMIT %(limit)s
    )
    SELECT total.chunks, (SELECT jsonb_object_agg(word, count) FROM frequency), found.*
    FROM total LEFT JOIN LATERAL (
        SELECT chunk.id, chunk.word_count, {MARKS}
        FROM candidate JOIN tenant_knowledge chunk ON chunk.id = candidate.id
    ) found ON true
"""  # noqa: S608 -- its parts are constants
# The query comes in a row, so that the planner does not know it: it would rather read the table than the index
# for a word that it knows to be frequent. Telling which words are there is ten times cheaper than listing their places.
_READ = """
    SELECT chunk.id, chunk.word_count, {marks}
    FROM (
        SELECT hit.id FROM unnest(ARRAY[%(query)s]) AS asked CROSS JOIN LATERAL (
            SELECT id, search_vector || '' AS words FROM tenant_knowledge WHERE {holding} LIMIT %(read)s
        ) hit
        ORDER BY (
            SELECT sum(idf) FROM unnest(%(queries)s::tsquery[], %(idf)s::float8[]) AS term(query, idf)
            WHERE hit.words @@ term.query
        ) DESC NULLS LAST, hit.id LIMIT %(limit)s
    ) best JOIN tenant_knowledge chunk USING (id)
"""

Marks = dict[str, tuple[list[str], list[int]]]  # of each word: what its occurrences stand in, and at which places
Found = tuple[int, int, Marks]  # chunk id, its length in words, the question's words in it


@dataclass(frozen=True)
class WordHits:
    """``scores``: BM25 by chunk id, best first. ``idf``: of every word asked for, found or not."""

    scores: dict[int, float]
    idf: dict[str, float]
    chunks: int  # of the tenant; estimated where it is large

    def coverage(self, found: Iterable[str]) -> float:
        """Return the share of the question's words, each weighing its idf, that are among ``found``."""
        whole = sum(self.idf.values())
        present = set(found)
        return sum(idf for word, idf in self.idf.items() if word in present) / whole if whole else 0.0


def find(*, tenant: Tenant, terms: list[str]) -> WordHits:
    """Return the tenant's passages that hold any of the words, at most `CANDIDATES`."""
    parameters: dict[str, Any] = {
        "tenant": str(tenant.knowledge_id),
        "terms": terms,
        "limit": CANDIDATES,
        "most": EXACT_MAX_CHUNKS,
    }
    known = samples.get(parameters["tenant"])
    if known is not None:
        return _find_in_large(parameters["tenant"], terms, known)
    with connection.cursor() as cursor:
        prepared.execute(cursor, _FIND, parameters)
        rows = cursor.fetchall()
    chunks, frequency = rows[0][0], json.loads(rows[0][1] or "{}")
    if chunks > EXACT_MAX_CHUNKS:
        return _find_in_large(parameters["tenant"], terms, samples.take(parameters["tenant"]))
    idf = {term: idf_of(chunks, frequency.get(term, 0)) for term in terms}
    found = [(row[2], row[3], json.loads(row[4])) for row in rows if row[2] is not None]
    return WordHits(scores(found, idf), idf, chunks)


def known_size(tenant: Tenant) -> int | None:
    """Return about how many passages a large tenant has that was asked about lately, None of any other."""
    known = samples.get(str(tenant.knowledge_id))
    return known.chunks if known else None


def _find_in_large(tenant: str, terms: list[str], sample: Sample) -> WordHits:
    frequency = sample.frequencies(tenant, terms)
    idf = {term: idf_of(sample.chunks, frequency[term]) for term in terms}
    pairs = _pairs(idf)
    weights = {f"'{term}'": weight for term, weight in idf.items()}
    weights |= {f"'{one}' <-> '{other}'": weight for (one, other), weight in pairs.items()}
    asked: dict[str, Any] = {"tenant": tenant, "terms": terms, "queries": [*weights], "idf": [*weights.values()]}
    read = _READ.format(marks=MARKS, holding=sample.holding)
    found: dict[int, Found] = {}
    with connection.cursor() as cursor:
        for query in _queries(idf, frequency, sample) if terms else ():
            cursor.execute(read, asked | {"query": query, "read": READ_MAX, "limit": SCORED_MAX})
            found |= {row[0]: (row[0], row[1], json.loads(row[2] or "{}")) for row in cursor.fetchall()}
            if len(found) >= ENOUGH:
                break
    return WordHits(scores(found.values(), idf), idf, sample.chunks)


def _queries(idf: Mapping[str, float], frequency: Mapping[str, int], sample: Sample) -> Iterable[str]:
    """Return tsqueries for the passages that weigh most, each asking less of them than the one before."""
    rarest = sorted(idf, key=lambda term: -idf[term])[:COMBINED_WORDS_MAX]
    terms = [(term, idf[term]) for term in rarest]
    reaching = list(_reaching(terms, frequency, sample))
    wanted = []
    for aim in READ_AIMS:
        level = min((weight for weight, passages in reaching if passages <= aim), default=reaching[0][0])
        wanted.append(_at_least(level - ROUNDING, terms))
    return dict.fromkeys([*wanted, _any_of(rarest)])


def _reaching(
    terms: Sequence[tuple[str, float]], frequency: Mapping[str, int], sample: Sample
) -> Iterator[tuple[float, float]]:
    """Yield what the terms can weigh together, heaviest first, with about how many passages weigh that or more.

    That is what terms that keep clear of each other's company would do, or what the sample shows, if more do.
    """
    combinations = [(0.0, float(sample.chunks))]
    weight_of: dict[int, float] = defaultdict(float)
    for term, own in terms:
        share = min(1.0, frequency[term] / sample.chunks)
        held = [(weight + own, passages * share) for weight, passages in combinations]
        combinations = held + [(weight, passages * (1 - share)) for weight, passages in combinations]
        for chunk_id in sample.holders.get(term, ()):
            weight_of[chunk_id] += own
    lightness = sorted(-weight for weight in weight_of.values())
    expected = 0.0
    for weight, passages in sorted(combinations, reverse=True)[:-1]:
        expected += passages
        seen = bisect_right(lightness, ROUNDING - weight)
        yield weight, max(expected, seen * SAMPLED_EVERY if seen > 1 else 0.0)


def _any_of(terms: Iterable[str]) -> str:
    return " | ".join(f"'{term}'" for term in terms)


def _at_least(weight: float, terms: Sequence[tuple[str, float]]) -> str:
    """Return a tsquery for the texts whose terms sum up to the weight; at least one term must be there."""
    (term, own), rest = terms[0], terms[1:]
    left = weight - own
    parts = []
    if left <= 0:
        parts.append(f"'{term}'")
    elif _can_reach(left, rest):
        parts.append(f"'{term}' & ({_at_least(left, rest)})")
    if _can_reach(weight, rest):
        parts.append(_at_least(weight, rest))
    return " | ".join(parts)


def _can_reach(weight: float, terms: Sequence[tuple[str, float]]) -> bool:
    return bool(terms) and sum(own for _term, own in terms) >= weight


def scores(found: Collection[Found], idf: Mapping[str, float]) -> dict[int, float]:
    """Return the BM25 score, pairs of words included, by chunk id, best first; ``idf`` in the question's order."""
    average = sum(length for _id, length, _marks in found) / len(found) if found else 0.0
    pairs = _pairs(idf)
    scored = {
        chunk_id: sum(
            idf[word] * _saturated(_count(kinds), length, average) for word, (kinds, _places) in marks.items()
        )
        + sum(weight * _saturated(_together(marks, *pair)) for pair, weight in pairs.items())
        for chunk_id, length, marks in found
    }
    return dict(sorted(scored.items(), key=lambda item: (-item[1], item[0])))


def _pairs(idf: Mapping[str, float]) -> dict[tuple[str, str], float]:
    """Return what each two words that follow each other in the question weigh as a pair."""
    return {(one, other): PAIR_WEIGHT * (idf[one] + idf[other]) / 2 for one, other in pairwise(idf)}


def idf_of(chunks: int, frequency: float) -> float:
    return math.log(1 + (chunks - frequency + 0.5) / (frequency + 0.5))


def _count(kinds: Sequence[str]) -> float:
    return sum(OCCURRENCE[kind] for kind in kinds)


def _together(marks: Marks, one: str, other: str) -> int:
    """Return how often the other word follows right after the one; words without meaning are not counted between."""
    if one not in marks or other not in marks:
        return 0
    return len({place + 1 for place in marks[one][1]} & set(marks[other][1]))


def _saturated(count: float, length: int = 1, average: float = 1.0) -> float:
    return count * (BM25_K1 + 1) / (count + BM25_K1 * (1 - BM25_B + BM25_B * length / max(average, 1.0)))
