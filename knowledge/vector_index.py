"""An HNSW index of its own for each tenant that is too large for comparing every vector.

The index covers one tenant and one model, so a scan never meets a foreign row and needs no filter after it:
docs/adr/0004-vector-index.md.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from django.conf import settings
from django.db import connection

from knowledge import search_model
from knowledge.errors import VectorIndexError
from tenants.models import Tenant

PREFIX = "chunk_hnsw_"
EF_SEARCH = 150  # candidates the scan keeps: at least `vector_search.CANDIDATES`
# Of each vector. With pgvector's 16 one question in 100 ended among the passages of a wrong topic; with 24 one in 200,
# and the index is a twentieth larger (docs/quality.md).
NEIGHBOURS = 24
DIMENSIONS_MAX = 4000  # of an index of half-precision numbers: pgvector's
KEPT_SHARE = 0.5  # an index goes when its tenant has shrunk below this share of the limit, not as soon as it is below
BUILD_MEMORY = "512MB"  # the graph of 200,000 vectors of 384 numbers takes 300 MB; what has no room is built slowly
LOCK = 7_001_004  # the advisory lock of whoever builds or drops


def name(tenant: Tenant, model: str, dimensions: int) -> str:
    """Return the index's name: the same for the same tenant, model and dimensions."""
    kind = hashlib.sha256(f"{model}:{dimensions}:half".encode()).hexdigest()[:8]
    return f"{PREFIX}{tenant.knowledge_id.hex}_{kind}"


def is_ready(tenant: Tenant, model: str, dimensions: int) -> bool:
    return _validity(name(tenant, model, dimensions)) is True


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


def maintain() -> tuple[list[str], list[str]]:
    """Drop the indexes that no longer serve and build those that are missing; return the names of both.

    Blocks neither searching nor storing. Does nothing while another process is at it. Must run outside a transaction.

    Raises:
        VectorIndexError: as `check_server`.
    """
    with _only_one() as is_mine:
        if not is_mine:
            return [], []
        wanted = _wanted()
        dropped = _drop_all_but({index for index, _tenant, _model, _dimensions in wanted})
        large = _large_tenants(settings.SEARCH_EXACT_MAX_CHUNKS)
        missing = [row for row in wanted if row[1].pk in large and not _validity(row[0])]
        if missing:
            check_server()
        for index, tenant, model, dimensions in missing:
            _build(index, tenant, model, dimensions)
        return dropped, [index for index, *_rest in missing]


Wanted = tuple[str, Tenant, str, int]


def _wanted() -> list[Wanted]:
    """Return the index of each version of a tenant's knowledge that is not far below the limit."""
    found = []
    large = _large_tenants(int(KEPT_SHARE * settings.SEARCH_EXACT_MAX_CHUNKS))
    for row in Tenant.objects.filter(pk__in=large).exclude(version=Tenant.Version.DROPPED):
        tenant = row.as_holder()
        model = search_model.of(tenant)
        dimensions = _dimensions(tenant, model)
        if dimensions and dimensions <= DIMENSIONS_MAX:
            found.append((name(tenant, model, dimensions), tenant, model, dimensions))
    return found


def _large_tenants(more_than: int) -> set[UUID]:
    """Return the tenants with more passages than this; counted in the index by tenant alone."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT tenant_id FROM tenant_knowledge GROUP BY tenant_id HAVING count(*) > %s", [more_than])
        return {tenant_id for (tenant_id,) in cursor.fetchall()}


def _dimensions(tenant: Tenant, model: str) -> int | None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT vector_dims(embedding) FROM tenant_knowledge "
            "WHERE tenant_id = %s AND embedding_model = %s AND embedding IS NOT NULL LIMIT 1",
            [tenant.pk, model],
        )
        row = cursor.fetchone()
    return row[0] if row else None


def _build(index: str, tenant: Tenant, model: str, dimensions: int) -> None:
    """Build an index, on one core; a build that broke off has left an invalid one, which is dropped first."""
    with connection.cursor() as cursor:
        cursor.execute(f'DROP INDEX CONCURRENTLY IF EXISTS "{index}"')
        cursor.execute("SET maintenance_work_mem = %s; SET max_parallel_maintenance_workers = 0", [BUILD_MEMORY])
        cursor.execute(
            f'CREATE INDEX CONCURRENTLY "{index}" ON tenant_knowledge '
            f"USING hnsw ((embedding::halfvec({int(dimensions)})) halfvec_cosine_ops) "
            f"WITH (m = {NEIGHBOURS}) WHERE tenant_id = %s AND embedding_model = %s",
            [tenant.pk, model],
        )
        cursor.execute("RESET maintenance_work_mem; RESET max_parallel_maintenance_workers")


def _drop_all_but(wanted: set[str]) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid "
            "WHERE indrelid = 'tenant_knowledge'::regclass AND starts_with(relname, %s) ORDER BY relname",
            [PREFIX],
        )
        unused = [index for (index,) in cursor.fetchall() if index not in wanted]
        for index in unused:
            cursor.execute(f'DROP INDEX CONCURRENTLY IF EXISTS "{index}"')
    return unused


@contextmanager
def _only_one() -> Iterator[bool]:
    """Hold the lock of this work; a process that dies gives it back with its session."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [LOCK])
        is_mine = bool(cursor.fetchone()[0])
        try:
            yield is_mine
        finally:
            if is_mine:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [LOCK])


def _validity(index: str) -> bool | None:
    """Return whether the index may be used, or None if there is none of this name."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)", [f'"{index}"'])
        row = cursor.fetchone()
    return row[0] if row else None
