"""Find a tenant's passages by the words they share with the question: BM25 over PostgreSQL's word index."""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass

from django.db import connection

from tenants.models import Tenant

CANDIDATES = 100
# Source: Robertson & Zaragoza, The Probabilistic Relevance Framework (2009), 3.4–3.5; values as in Lucene.
BM25_K1 = 1.2
BM25_B = 0.75
# What one occurrence counts for: in the title, in a heading, in the text.
OCCURRENCE = {"A": 2.0, "B": 2.0, "D": 1.0}

# The sum of the found words' idf picks the candidates: it needs the index alone. Only the candidates' own word
# lists, which mostly lie out of the row, are read, for the number of times each word occurs.
_FIND = """
    WITH term AS (SELECT word FROM unnest(%(terms)s::text[]) AS word),
    hit AS MATERIALIZED (
        SELECT term.word, chunk.id FROM term CROSS JOIN LATERAL (
            SELECT id FROM tenant_knowledge
            WHERE tenant_id = %(tenant)s AND search_vector @@ format('''%%s''', term.word)::tsquery
        ) chunk
    ),
    total AS MATERIALIZED (SELECT count(*) AS chunks FROM tenant_knowledge WHERE tenant_id = %(tenant)s),
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
        SELECT chunk.id, chunk.word_count, (
            SELECT jsonb_object_agg(lexeme, weights) FROM unnest(chunk.search_vector) WHERE lexeme = ANY(%(terms)s)
        )
        FROM candidate JOIN tenant_knowledge chunk ON chunk.id = candidate.id
    ) found ON true
"""


@dataclass(frozen=True)
class WordHits:
    """``scores``: BM25 by chunk id, best first. ``idf``: of every word asked for, found or not."""

    scores: dict[int, float]
    idf: dict[str, float]
    chunks: int

    def coverage(self, found: Iterable[str]) -> float:
        """Return the share of the question's words, each weighing its idf, that are among ``found``."""
        whole = sum(self.idf.values())
        present = set(found)
        return sum(idf for word, idf in self.idf.items() if word in present) / whole if whole else 0.0


def find(*, tenant: Tenant, terms: list[str]) -> WordHits:
    """Return the tenant's passages that hold any of the words, at most `CANDIDATES`."""
    with connection.cursor() as cursor:
        cursor.execute(_FIND, {"tenant": tenant.pk, "terms": terms, "limit": CANDIDATES})
        rows = cursor.fetchall()
    chunks, frequency = rows[0][0], json.loads(rows[0][1] or "{}")
    idf = {term: _idf(chunks, frequency.get(term, 0)) for term in terms}
    found = [(row[2], row[3], json.loads(row[4])) for row in rows if row[2] is not None]
    average = sum(length for _id, length, _weights in found) / len(found) if found else 0.0
    scored = {
        chunk_id: sum(idf[word] * _saturated(marks, length, average) for word, marks in weights.items())
        for chunk_id, length, weights in found
    }
    return WordHits(dict(sorted(scored.items(), key=lambda item: (-item[1], item[0]))), idf, chunks)


def _idf(chunks: int, frequency: int) -> float:
    return math.log(1 + (chunks - frequency + 0.5) / (frequency + 0.5))


def _saturated(marks: list[str], length: int, average: float) -> float:
    count = sum(OCCURRENCE[mark] for mark in marks)
    return count * (BM25_K1 + 1) / (count + BM25_K1 * (1 - BM25_B + BM25_B * length / max(average, 1.0)))
