"""How often words occur in a large tenant: estimated by a sample of its passages, counted where that shows too few."""

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from django.db import connection

from knowledge import own_index, word_index
from knowledge.models.documents import INDEXED_WORDS, SAMPLED_EVERY

KEPT_SECONDS = 600.0  # in memory: reading a sample takes as long as the rest of a search
SAMPLES_KEPT = 8  # of 800 passages each where the tenant has 200,000: about 4 MB
# A word that so few sampled passages hold is counted: what it weighs would be off by a half or more, and the best of
# BM25 be others. Its passages are some hundreds.
COUNTED_MAX = 2
COUNT_STOPS_AT = 5000

_SAMPLE = f"""
    SELECT id, tsvector_to_array(search_vector) FROM tenant_knowledge
    WHERE {INDEXED_WORDS} @@ quote_literal(%(tenant)s || '~')::tsquery
"""  # noqa: S608 -- its parts are constants
_COUNT = """
    SELECT word, (
        SELECT count(*) FROM (SELECT FROM tenant_knowledge WHERE {holding} LIMIT %(stop)s) counted
    ) FROM unnest(%(terms)s::text[]) AS word, quote_literal(word) AS asked
"""  # in it one of `word_index`'s conditions


@dataclass(frozen=True)
class Sample:
    """Some of a large tenant's passages: how many, and which of them hold each word."""

    size: int
    holders: Mapping[str, set[int]]
    taken_at: float
    has_own_index: bool  # so many passages have a word index of their own
    _counted: dict[str, int] = field(default_factory=dict)

    @property
    def chunks(self) -> int:
        """About how many passages the tenant has."""
        return self.size * SAMPLED_EVERY

    @property
    def holding(self) -> str:
        """The condition of the tenant's passages that hold what is asked for."""
        return word_index.IN_OWN if self.has_own_index else word_index.IN_SHARED

    def frequencies(self, tenant: str, terms: Iterable[str]) -> dict[str, int]:
        """Return in how many of the tenant's passages each word is, about; of a rare one as counted once."""
        sampled = {term: len(self.holders.get(term, ())) for term in terms}
        uncounted = [term for term, held in sampled.items() if held <= COUNTED_MAX and term not in self._counted]
        if uncounted:
            with connection.cursor() as cursor:
                count = _COUNT.format(holding=self.holding)
                cursor.execute(count, {"tenant": tenant, "terms": uncounted, "stop": COUNT_STOPS_AT})
                self._counted.update(cursor.fetchall())
        return {term: self._counted.get(term, held * SAMPLED_EVERY) for term, held in sampled.items()}


class Samples:
    """The samples this process took lately, of the tenants asked last; a tenant that shrinks is noticed as they age."""

    def __init__(self) -> None:
        self._samples: dict[str, Sample] = {}

    def get(self, tenant: str) -> Sample | None:
        sample = self._samples.get(tenant)
        return sample if sample and time.monotonic() - sample.taken_at < KEPT_SECONDS else None

    def take(self, tenant: str) -> Sample:
        with connection.cursor() as cursor:
            cursor.execute(_SAMPLE, {"tenant": tenant})
            rows = cursor.fetchall()
        holders: dict[str, set[int]] = defaultdict(set)
        for chunk_id, words in rows:
            for word in words:
                holders[word].add(chunk_id)
        sample = Sample(len(rows), dict(holders), time.monotonic(), own_index.is_ready(word_index.name(tenant)))
        kept = [*self._samples.items(), (tenant, sample)][-SAMPLES_KEPT:]
        self._samples = dict(kept)
        return sample


samples = Samples()
