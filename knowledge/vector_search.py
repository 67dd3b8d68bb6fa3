"""Find a tenant's passages by meaning: the nearest vectors of the model it is searched with."""

from typing import Any

from django.conf import settings
from django.db import connection

from core.postgres import prepared
from knowledge import large_tenants, vector_index
from tenants.models import Tenant

CANDIDATES = 100
_MAY_HAVE_INDEX = large_tenants.KEPT_SHARE / 2  # of the limit; the size of a large tenant is an estimate

# Vectors of another length would make the comparison fail: an endpoint may change its model under the same name.
_EXACT = """
    SELECT id, 1 - (embedding <=> asked) AS cosine
    FROM tenant_knowledge, (SELECT %(vector)s::vector AS asked) question
    WHERE tenant_id = %(tenant)s AND embedding_model = %(model)s AND vector_dims(embedding) = %(dimensions)s
    ORDER BY embedding <=> asked LIMIT %(limit)s
"""
# Word for word the index's expression and condition, or PostgreSQL does not use it. The index compares numbers of half
# precision; the cosine is of the vectors themselves.
_INDEXED = """
    SELECT id, 1 - (embedding <=> %(vector)s::vector) AS cosine FROM tenant_knowledge
    WHERE tenant_id = %(tenant)s AND embedding_model = %(model)s
    ORDER BY embedding::halfvec({dimensions}) <=> %(vector)s::halfvec LIMIT %(limit)s
"""
# In one message with the search, and so in its transaction. The scan goes on until it has found enough; the planner
# underrates what comparing every vector costs.
_WITH_SETTINGS = (
    "SET LOCAL hnsw.iterative_scan = strict_order; SET LOCAL hnsw.ef_search = {candidates}; "
    "SET LOCAL enable_sort = off; {search}"
)
# Right after a change of the model its vectors still stand beside the old ones, and are moved in batches. One
# statement sees each passage in one of the two places.
_BOTH_PLACES = """
    SELECT id, cosine FROM (
        ({first})
        UNION ALL
        (SELECT id, 1 - (next_embedding <=> asked) AS cosine
        FROM tenant_knowledge, (SELECT %(vector)s::vector AS asked) question
        WHERE tenant_id = %(tenant)s AND next_embedding_model = %(model)s AND next_embedding_model <> ''
            AND vector_dims(next_embedding) = %(dimensions)s
        ORDER BY next_embedding <=> asked LIMIT %(limit)s)
    ) near
    ORDER BY cosine DESC LIMIT %(limit)s
"""
_EXACT_IN_BOTH = prepared.BY_INDEX + _BOTH_PLACES.format(first=_EXACT)


def nearest(*, tenant: Tenant, vector: list[float], model: str, chunks: int) -> dict[int, float]:
    """Return the cosine by chunk id, best first, at most `CANDIDATES`; ``chunks`` is the tenant's size.

    Up to ``SEARCH_EXACT_MAX_CHUNKS`` every vector of the tenant is compared. Above, the tenant's own index is used
    once it is built (`large_tenants`). A shared one is not: filtering its answers by tenant loses most of them.
    """
    dimensions = len(vector)
    parameters: dict[str, Any] = {
        "tenant": tenant.knowledge_id,
        "vector": written(vector),
        "model": model,
        "dimensions": dimensions,
        "limit": CANDIDATES,
    }
    may_have_index = chunks > _MAY_HAVE_INDEX * settings.SEARCH_EXACT_MAX_CHUNKS
    with connection.cursor() as cursor:
        if may_have_index and vector_index.is_ready(tenant, model, dimensions):
            search = _BOTH_PLACES.format(first=_INDEXED.format(dimensions=dimensions))
            cursor.execute(_WITH_SETTINGS.format(candidates=vector_index.EF_SEARCH, search=search), parameters)
        else:
            prepared.execute(cursor, _EXACT_IN_BOTH, parameters)
        return dict(cursor.fetchall())


def written(vector: list[float]) -> str:
    """Return the vector as PostgreSQL reads it: what it keeps of each number needs nine digits, half of all."""
    return f"[{','.join([f'{number:.9g}' for number in vector])}]"
