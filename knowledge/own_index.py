"""An index that covers one tenant's passages alone: a scan never meets a foreign row and needs no filter after it."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from uuid import UUID

from django.db import connection

BUILD_MEMORY = "512MB"  # the graph of 200,000 vectors of 384 numbers takes 300 MB; what has no room is built slowly


@dataclass(frozen=True)
class OwnIndex:
    """``definition`` is what stands behind ON tenant_knowledge; ``check`` raises where the server cannot have it."""

    name: str
    definition: str
    parameters: Sequence[str | UUID]
    check: Callable[[], None] = lambda: None

    def build(self) -> None:
        """Build it on one core; a build that broke off has left an invalid one, which is dropped first."""
        self.check()
        with connection.cursor() as cursor:
            cursor.execute(f'DROP INDEX CONCURRENTLY IF EXISTS "{self.name}"')
            cursor.execute("SET maintenance_work_mem = %s; SET max_parallel_maintenance_workers = 0", [BUILD_MEMORY])
            cursor.execute(
                f'CREATE INDEX CONCURRENTLY "{self.name}" ON tenant_knowledge {self.definition}', self.parameters
            )
            cursor.execute("RESET maintenance_work_mem; RESET max_parallel_maintenance_workers")


def is_ready(name: str) -> bool:
    """Return whether there is an index of this name that is whole."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)", [f'"{name}"'])
        row = cursor.fetchone()
    return bool(row and row[0])


def drop_all_but(wanted: Collection[str], prefixes: tuple[str, ...]) -> list[str]:
    """Drop the indexes whose names begin so and that nobody wants; return their names."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid "
            "WHERE indrelid = 'tenant_knowledge'::regclass ORDER BY relname"
        )
        names = [name for (name,) in cursor.fetchall() if name.startswith(prefixes)]
        unused = [name for name in names if name not in wanted]
        for index in unused:
            cursor.execute(f'DROP INDEX CONCURRENTLY IF EXISTS "{index}"')
    return unused
