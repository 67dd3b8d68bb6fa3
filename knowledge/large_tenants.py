"""Gives each large tenant indexes of its own, and takes them away: docs/adr/0004-vector-index.md."""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from django.conf import settings
from django.db import connection

from knowledge import own_index, vector_index, word_index
from knowledge.own_index import OwnIndex
from tenants.models import Tenant

KEPT_SHARE = 0.5  # an index goes when its tenant has shrunk below this share of the limit, not as soon as it is below
LOCK = 7_001_004  # the advisory lock of whoever builds or drops


def maintain_indexes() -> tuple[list[str], list[str]]:
    """Drop the indexes that no longer serve and build those that are missing; return the names of both.

    Blocks neither searching nor storing. Does nothing while another process is at it. Must run outside a transaction.

    Raises:
        VectorIndexError: as `vector_index.check_server`.
    """
    with _only_one() as is_mine:
        if not is_mine:
            return [], []
        wanted = {index.name: index for index in _wanted()}
        dropped = own_index.drop_all_but(wanted.keys(), (word_index.PREFIX, vector_index.PREFIX))
        large = _tenants(settings.SEARCH_EXACT_MAX_CHUNKS)
        missing = [
            index for index in wanted.values() if index.tenant_id in large and not own_index.is_ready(index.name)
        ]
        for index in missing:
            index.build()
        if missing:  # for a tenant that has grown since it was last looked at, the planner prefers reading every row
            with connection.cursor() as cursor:
                cursor.execute("ANALYZE tenant_knowledge (tenant_id)")
        return dropped, [index.name for index in missing]


def _wanted() -> Iterator[OwnIndex]:
    """Yield the indexes of each version of a tenant's knowledge that is not far below the limit."""
    large = _tenants(int(KEPT_SHARE * settings.SEARCH_EXACT_MAX_CHUNKS))
    for row in Tenant.objects.filter(pk__in=large).exclude(version=Tenant.Version.DROPPED):
        tenant = row.as_holder()
        yield word_index.of(tenant)
        if vectors := vector_index.of(tenant):
            yield vectors


def _tenants(more_than: int) -> set[UUID]:
    """Return the tenants with more passages than this; counted in the index by tenant alone."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT tenant_id FROM tenant_knowledge GROUP BY tenant_id HAVING count(*) > %s", [more_than])
        return {tenant_id for (tenant_id,) in cursor.fetchall()}


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
