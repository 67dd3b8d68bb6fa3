"""Gives each large tenant indexes of its own, and takes them away: docs/adr/0004-vector-index.md."""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from django.conf import settings
from django.db import connection

from knowledge import own_index, text_search, vector_index, word_index
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
        wanted = list(_wanted())
        dropped = own_index.drop_all_but({index.name for index, _ in wanted}, (word_index.PREFIX, vector_index.PREFIX))
        missing = [index for index, is_due in wanted if is_due and not own_index.is_ready(index.name)]
        for index in missing:
            index.build()
        if missing:  # for a tenant that has grown since it was last looked at, the planner prefers reading every row
            with connection.cursor() as cursor:
                cursor.execute("ANALYZE tenant_knowledge (tenant_id)")
        return dropped, [index.name for index in missing]


def _wanted() -> Iterator[tuple[OwnIndex, bool]]:
    """Yield the indexes of tenants not far below the limit, and whether they are above it, so that theirs are built.

    Each version of a tenant's knowledge has its own.
    """
    limits = {word_index.of: text_search.EXACT_MAX_CHUNKS, vector_index.of: settings.SEARCH_EXACT_MAX_CHUNKS}
    sizes = _sizes(more_than=int(KEPT_SHARE * min(limits.values())))
    for row in Tenant.objects.filter(pk__in=sizes).exclude(version=Tenant.Version.DROPPED):
        size = sizes[row.pk]
        for of, limit in limits.items():
            if size > int(KEPT_SHARE * limit) and (index := of(row.as_holder())):
                yield index, size > limit


def _sizes(*, more_than: int) -> dict[UUID, int]:
    """Return how many passages the tenants with more than this have; counted in the index by tenant alone."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT tenant_id, count(*) FROM tenant_knowledge GROUP BY tenant_id HAVING count(*) > %s", [more_than]
        )
        return dict(cursor.fetchall())


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
