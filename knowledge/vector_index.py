"""An HNSW index of its own for each tenant that is too large for comparing every vector.

The index covers one tenant and one model, so a scan never meets a foreign row and needs no filter after it:
docs/adr/0004-vector-index.md.
"""

import hashlib

from django.db import connection

from knowledge import embeddings, search_model
from knowledge.errors import VectorIndexError
from tenants.models import Tenant

PREFIX = "chunk_hnsw_"
EF_SEARCH = 200  # candidates the scan keeps: at least `vector_search.CANDIDATES`


def name(tenant: Tenant, model: str, dimensions: int) -> str:
    """Return the index's name: the same for the same tenant, model and dimensions."""
    kind = hashlib.sha256(f"{model}:{dimensions}".encode()).hexdigest()[:8]
    return f"{PREFIX}{tenant.pk.hex}_{kind}"


def is_ready(tenant: Tenant, model: str, dimensions: int) -> bool:
    return _validity(name(tenant, model, dimensions)) is True


def prepare_scan() -> None:
    """Have index scans of this transaction continue until they have found enough.

    Raises:
        VectorIndexError: if the server's pgvector does not know iterative scans (before 0.8). Without the check an
            unknown setting would be taken as a name of the user's own and mean nothing.
    """
    with connection.cursor() as cursor:
        # The extension knows its settings only once it is loaded; the first expression loads it.
        cursor.execute("SELECT vector_dims('[1]'::vector)")
        cursor.execute("SET LOCAL hnsw.iterative_scan = strict_order")
        cursor.execute("SET LOCAL hnsw.ef_search = %s", [EF_SEARCH])
        cursor.execute("SET LOCAL enable_sort = off")  # the planner underrates what comparing every vector costs
        # pg_settings leaves out what is not the extension's own.
        cursor.execute("SELECT setting FROM pg_settings WHERE name = 'hnsw.iterative_scan'")
        row = cursor.fetchone()
    if row != ("strict_order",):
        raise VectorIndexError("The database's pgvector is too old: version 0.8 or newer is needed.")


def large_tenants(more_than: int) -> list[tuple[Tenant, int]]:
    """Return the tenants with more vectors of their model than this, each with the vectors' dimensions."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT chunk.tenant_id, min(vector_dims(embedding)) FROM tenant_knowledge chunk "
            "LEFT JOIN knowledge_searchmodel used ON used.tenant_id = chunk.tenant_id "
            "WHERE embedding_model = coalesce(used.model, %s) GROUP BY chunk.tenant_id HAVING count(embedding) > %s",
            [embeddings.model_id(), more_than],
        )
        dimensions = dict(cursor.fetchall())
    return [(tenant, dimensions[tenant.pk]) for tenant in Tenant.objects.filter(pk__in=dimensions).order_by("slug")]


def build(tenant: Tenant, dimensions: int) -> bool:
    """Build the tenant's index for the model it is searched with, blocking nobody; return False if it is there already.

    Must run outside a transaction. A build that broke off leaves an invalid index, which is dropped first.
    """
    model = search_model.of(tenant)
    index = name(tenant, model, dimensions)
    validity = _validity(index)
    if validity:
        return False
    with connection.cursor() as cursor:
        if validity is False:
            cursor.execute(f'DROP INDEX CONCURRENTLY IF EXISTS "{index}"')
        cursor.execute(
            f'CREATE INDEX CONCURRENTLY "{index}" ON tenant_knowledge '
            f"USING hnsw ((embedding::vector({int(dimensions)})) vector_cosine_ops) "
            "WHERE tenant_id = %s AND embedding_model = %s",
            [tenant.pk, model],
        )
    return True


def drop_unused() -> list[str]:
    """Drop the indexes of tenants that are gone and of models no longer in use; return their names."""
    in_use = {name(tenant, search_model.of(tenant), dimensions) for tenant, dimensions in large_tenants(0)}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid "
            "WHERE indrelid = 'tenant_knowledge'::regclass AND starts_with(relname, %s) ORDER BY relname",
            [PREFIX],
        )
        unused = [index for (index,) in cursor.fetchall() if index not in in_use]
        for index in unused:
            cursor.execute(f'DROP INDEX CONCURRENTLY IF EXISTS "{index}"')
    return unused


def _validity(index: str) -> bool | None:
    """Return whether the index may be used, or None if there is none of this name."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)", [f'"{index}"'])
        row = cursor.fetchone()
    return row[0] if row else None
