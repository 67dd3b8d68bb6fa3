"""Find a tenant's passages by the words they share with the question: BM25 over PostgreSQL's word index.

Up to `EXACT_MAX_CHUNKS` every passage with any of the words is weighed. In a larger tenant a frequent word alone is in
more passages than can be read in time; there a sample of the passages tells how often each word occurs and which
combinations of words are so rare that only their passages need reading.
"""

import json
import math
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from django.db import connection

from knowledge.models.documents import INDEXED_WORDS, SAMPLED_EVERY
from tenants.models import Tenant

CANDIDATES = 100
EXACT_MAX_CHUNKS = 10_000
READ_MAX = 1000  # passages of a large tenant whose word lists are read
SCORED_MAX = 60  # of those, the ones whose words' places are listed
SAMPLE_KEPT_SECONDS = 600.0  # in memory: reading it takes as long as the rest of a search
SAMPLES_KEPT = 8  # of 800 passages each where the tenant has 200,000: about 4 MB
ENOUGH = 30  # to fill any answer; with fewer, more frequent words are looked for
SAMPLE_RANKS = (2, 8, 32)  # so many passages of the sample reach the weight that candidates must have; else the next
FEW = 2  # up to so many times as many passages hold a leading word, any of them will do
RARE = 8  # a word in more than so many times as many passages leads only if it is the rarest
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
    WITH total AS MATERIALIZED (
        SELECT count(*) AS chunks
        FROM (SELECT FROM tenant_knowledge WHERE tenant_id = %(tenant)s LIMIT %(most)s + 1) counted
    ),
    term AS (SELECT word FROM unnest(%(terms)s::text[]) AS word WHERE (SELECT chunks FROM total) <= %(most)s),
    hit AS MATERIALIZED (
        SELECT term.word, chunk.id FROM term CROSS JOIN LATERAL (
            SELECT id FROM tenant_knowledge
            WHERE {INDEXED_WORDS} @@ format('''%%s'' & ''%%s''', %(tenant)s, term.word)::tsquery
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
_SAMPLE = f"""
    SELECT id, tsvector_to_array(search_vector) FROM tenant_knowledge
    WHERE {INDEXED_WORDS} @@ quote_literal(%(tenant)s || '~')::tsquery
"""  # noqa: S608 -- its parts are constants
# The query comes in a row, so that the planner does not know it: it would rather read the table than the index
# for a word that it knows to be frequent. Telling which words are there is ten times cheaper than listing their places.
_READ = f"""
    SELECT chunk.id, chunk.word_count, {MARKS}
    FROM (
        SELECT hit.id FROM unnest(ARRAY[%(query)s]) AS query CROSS JOIN LATERAL (
            SELECT id, search_vector || '' AS words FROM tenant_knowledge
            WHERE {INDEXED_WORDS} @@ query::tsquery LIMIT %(read)s
        ) hit
        ORDER BY (
            SELECT sum(idf) FROM unnest(%(queries)s::tsquery[], %(idf)s::float8[]) AS term(query, idf)
            WHERE hit.words @@ term.query
        ) DESC NULLS LAST, hit.id LIMIT %(limit)s
    ) best JOIN tenant_knowledge chunk USING (id)
"""  # noqa: S608 -- its parts are constants

Marks = dict[str, tuple[list[str], list[int]]]  # of each word: what its occurrences stand in, and at which places
Found = list[tuple[int, int, Marks]]  # chunk id, its length in words, the question's words in it


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
    known = _samples.get(parameters["tenant"])
    if known is not None:
        return _find_in_large(parameters["tenant"], terms, known)
    with connection.cursor() as cursor:
        cursor.execute(_FIND, parameters)
        rows = cursor.fetchall()
    chunks, frequency = rows[0][0], json.loads(rows[0][1] or "{}")
    if chunks > EXACT_MAX_CHUNKS:
        return _find_in_large(parameters["tenant"], terms, _samples.take(parameters["tenant"]))
    idf = {term: idf_of(chunks, frequency.get(term, 0)) for term in terms}
    found = [(row[2], row[3], json.loads(row[4])) for row in rows if row[2] is not None]
    return WordHits(scores(found, idf), idf, chunks)


@dataclass(frozen=True)
class Sample:
    """Some of a large tenant's passages: how many, and which of them hold each word."""

    size: int
    holders: Mapping[str, set[int]]
    taken_at: float


class Samples:
    """The samples this process took lately, of the tenants asked last; a tenant that shrinks is noticed as they age."""

    def __init__(self) -> None:
        self._samples: dict[str, Sample] = {}

    def get(self, tenant: str) -> Sample | None:
        sample = self._samples.get(tenant)
        return sample if sample and time.monotonic() - sample.taken_at < SAMPLE_KEPT_SECONDS else None

    def take(self, tenant: str) -> Sample:
        with connection.cursor() as cursor:
            cursor.execute(_SAMPLE, {"tenant": tenant})
            rows = cursor.fetchall()
        holders: dict[str, set[int]] = defaultdict(set)
        for chunk_id, words in rows:
            for word in words:
                holders[word].add(chunk_id)
        sample = Sample(len(rows), dict(holders), time.monotonic())
        kept = [*self._samples.items(), (tenant, sample)][-SAMPLES_KEPT:]
        self._samples = dict(kept)
        return sample


_samples = Samples()


def _find_in_large(tenant: str, terms: list[str], sample: Sample) -> WordHits:
    holders = {term: sample.holders.get(term, set[int]()) for term in terms}
    idf = {term: idf_of(sample.size, len(holders[term]) or 0.5) for term in terms}  # not in the sample: less than one
    asked: dict[str, Any] = {"terms": terms, "queries": [f"'{term}'" for term in idf], "idf": list(idf.values())}
    found: Found = []
    with connection.cursor() as cursor:
        for query in _queries(tenant, idf, holders) if terms else ():
            cursor.execute(_READ, asked | {"query": query, "read": READ_MAX, "limit": SCORED_MAX})
            found = [(chunk_id, length, json.loads(marks or "{}")) for chunk_id, length, marks in cursor.fetchall()]
            if len(found) >= ENOUGH:
                break
    return WordHits(scores(found, idf), idf, sample.size * SAMPLED_EVERY)


def _queries(tenant: str, idf: dict[str, float], holders: Mapping[str, set[int]]) -> Iterator[str]:
    """Yield tsqueries for the passages that weigh most, each asking less of them than the one before.

    A passage must hold one of the rarest words, as few of them as will do, so that the index reads their short lists
    alone; and all of its words together must weigh what only so many passages of the sample do.
    """
    rarest = sorted(idf, key=lambda term: -idf[term])[:COMBINED_WORDS_MAX]
    for rank in SAMPLE_RANKS:
        leading = rarest[:1]
        for term in rarest[1:]:
            if len(_holding(leading, holders)) >= rank or len(holders[term]) > RARE * rank:
                break
            leading.append(term)
        weights = [sum(idf[term] for term in rarest if chunk in holders[term]) for chunk in _holding(leading, holders)]
        if len(weights) > FEW * rank:
            level = sorted(weights, reverse=True)[rank - 1] - ROUNDING
            weighty = _at_least(level, [(term, idf[term]) for term in rarest])
            yield f"'{tenant}' & ({_any_of(leading)}) & ({weighty})"
        yield f"'{tenant}' & ({_any_of(leading)})"
    yield f"'{tenant}' & ({_any_of(rarest)})"


def _holding(terms: Iterable[str], holders: Mapping[str, set[int]]) -> set[int]:
    return set[int]().union(*(holders[term] for term in terms))


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


def scores(found: Found, idf: Mapping[str, float]) -> dict[int, float]:
    """Return the BM25 score, pairs of words included, by chunk id, best first; ``idf`` in the question's order."""
    average = sum(length for _id, length, _marks in found) / len(found) if found else 0.0
    pairs = {(one, other): PAIR_WEIGHT * (idf[one] + idf[other]) / 2 for one, other in pairwise(idf)}
    scored = {
        chunk_id: sum(
            idf[word] * _saturated(_count(kinds), length, average) for word, (kinds, _places) in marks.items()
        )
        + sum(weight * _saturated(_together(marks, *pair)) for pair, weight in pairs.items())
        for chunk_id, length, marks in found
    }
    return dict(sorted(scored.items(), key=lambda item: (-item[1], item[0])))


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
