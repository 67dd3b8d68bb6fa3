"""What a process needs before it can serve; each check returns a problem, or an empty text."""

import asyncio
import re
import threading
from collections.abc import Callable

import structlog
from asgiref.sync import sync_to_async
from django.db import DEFAULT_DB_ALIAS, DatabaseError, connection, connections
from django.db.migrations.executor import MigrationExecutor

from core import redis

log = structlog.get_logger(__name__)

CHECK_TIMEOUT_SECONDS = 4
PGVECTOR_MINIMUM = (0, 8)

Check = Callable[[], str]

_is_migrated = threading.Event()


async def find_problem(check: Check) -> str:
    """Run a check in a thread of its own and return its problem; one that takes too long is a problem itself."""
    try:
        return await asyncio.wait_for(sync_to_async(_closing(check), thread_sensitive=False)(), CHECK_TIMEOUT_SECONDS)
    except TimeoutError:
        return "no answer in time"


def check_database() -> str:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError as exc:
        log.warning("database check failed", error=first_line(exc))  # names hosts and users: not for the public
        return "unreachable"
    return ""


def check_pgvector() -> str:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'")
            row = cursor.fetchone()
    except DatabaseError:
        return "unknown: the database is unreachable"
    if row is None:
        return "the extension is not installed in this database: run manage.py migrate"
    if version_of(row[0]) < PGVECTOR_MINIMUM:
        return f"pgvector {row[0]} is too old, 0.8 is the minimum"
    return ""


def check_migrations() -> str:
    try:
        count = count_missing_migrations()
    except DatabaseError:
        return "unknown: the database is unreachable"
    return f"{count} to apply: run manage.py migrate" if count else ""


def check_redis() -> str:
    return "" if redis.is_reachable() else "unreachable"


def count_missing_migrations() -> int:
    """Return how many migrations wait; once none does, this process never looks again (a look costs 0.1 s)."""
    if not _is_migrated.is_set():
        executor = MigrationExecutor(connections[DEFAULT_DB_ALIAS])
        if plan := executor.migration_plan(executor.loader.graph.leaf_nodes()):
            return len(plan)
        _is_migrated.set()
    return 0


CHECKS: dict[str, Check] = {
    "database": check_database,
    "pgvector": check_pgvector,
    "migrations": check_migrations,
    "redis": check_redis,
}


def version_of(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


def first_line(exc: Exception) -> str:
    return (str(exc).strip() or type(exc).__name__).splitlines()[0]


def _closing(check: Check) -> Check:
    """Return the check so that it leaves no connection behind in its thread."""

    def run() -> str:
        try:
            return check()
        finally:
            connections.close_all()

    return run
