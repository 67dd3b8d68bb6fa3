"""An HNSW index of its own for each tenant that is too large for comparing every vector.

It covers one tenant and one model: docs/adr/0004-vector-index.md.
"""

import hashlib

from django.db import connection

from knowledge import own_index, search_model
from knowledge.errors import VectorIndexError
from knowledge.own_index import OwnIndex
from tenants.models import Tenant

PREFIX = "chunk_hnsw_"
EF_SEARCH = 150  # candidates the scan keeps: at least `vector_search.CANDIDATES`
# Of each vector. With pgvector's 16 one question in 100 ended among the passages of a wrong topic; with 24 one in 200,
# and the index is a twentieth larger (docs/quality.md).
NEIGHBOURS = 24
DIMENSIONS_MAX = 4000  # of an index of half-precision numbers: pgvector's


def name(tenant: Tenant, model: str, dimensions: int) -> str:
    """Return the index's name: the same for the same tenant, model and dimensions."""
    kind = hashlib.sha256(f"{model}:{dimensions}:half".encode()).hexdigest()[:8]
    return f"{PREFIX}{tenant.knowledge_id.hex}_{kind}"


def is_ready(tenant: Tenant, model: str, dimensions: int) -> bool:
    return own_index.is_ready(name(tenant, model, dimensions))


def of(tenant: Tenant) -> OwnIndex | None:
    """Return the index of a version of a tenant's knowledge, by the model it is searched with; None without vectors."""
    model = search_model.of(tenant)
    dimensions = _dimensions(tenant, model)
    if not dimensions or dimensions > DIMENSIONS_MAX:
        return None
    definition = (
        f"USING hnsw ((embedding::halfvec({int(dimensions)})) halfvec_cosine_ops) "
        f"WITH (m = {NEIGHBOURS}) WHERE tenant_id = %s AND embedding_model = %s"
    )
    return OwnIndex(name(tenant, model, dimensions), definition, [tenant.pk, model], check_server)


def check_server() -> None:
    """Check that scans of an index can go on until they have found enough.

    Raises:
        VectorIndexError: if the server's pgvector does not know iterative scans (before 0.8). Without the check an
            unknown setting would be taken as a name of the user's own and mean nothing.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT vector_dims('[1]'::vector)")  # the extension's settings are known once it is loaded
        cursor.execute("SELECT FROM pg_settings WHERE name = 'hnsw.iterative_scan'")
        if cursor.fetchone() is None:
            raise VectorIndexError("The database's pgvector is too old: version 0.8 or newer is needed.")


def _dimensions(tenant: Tenant, model: str) -> int | None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT vector_dims(embedding) FROM tenant_knowledge "
            "WHERE tenant_id = %s AND embedding_model = %s AND embedding IS NOT NULL LIMIT 1",
            [tenant.pk, model],
        )
        row = cursor.fetchone()
    return row[0] if row else None
