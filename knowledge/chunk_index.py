"""The repair of ``tenant_knowledge.chunk_index``: NULL becomes 0, and stays impossible, while the site is in use.

Migrations 0002 to 0006 and ``manage.py fix_chunk_index`` run these steps. Each is plain SQL on a live table, may be
killed at any point and run again, and never holds a lock that people notice (docs/migrations-chunk-index.md).
"""

import random
import time
from collections.abc import Callable

from django.db import OperationalError, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

BATCH_ROWS = 1000
BATCH_SECONDS = 0.2  # a batch is made smaller until it takes no longer: its rows are locked meanwhile
LOCK_TIMEOUT = "300ms"  # whoever comes after a waiting ALTER TABLE waits behind it, so it gives up soon and comes again
MAINTENANCE_LOCK_TIMEOUT = "10s"
LOCK_TRIES = 200
LOCK_NOT_AVAILABLE = "55P03"  # PostgreSQL's code

# This lock holds up no reader and no writer. An autovacuum, which may take minutes over an HNSW index, gives way to
# whoever has waited a second for it, which the short timeout would never do.
_STOP_AUTOVACUUM = "LOCK TABLE tenant_knowledge IN SHARE UPDATE EXCLUSIVE MODE"

# The old code writes NULL by name, which a default does not stop, and updates rows that hold NULL, which the
# CHECK would refuse: the trigger lets it run on beside every step, and after a rollback of the code.
_DEFAULT = """
    ALTER TABLE tenant_knowledge ALTER COLUMN chunk_index SET DEFAULT 0;
    CREATE OR REPLACE FUNCTION chunk_index_zero() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN NEW.chunk_index := 0; RETURN NEW; END';
    CREATE OR REPLACE TRIGGER chunk_index_zero BEFORE INSERT OR UPDATE ON tenant_knowledge
        FOR EACH ROW WHEN (NEW.chunk_index IS NULL) EXECUTE FUNCTION chunk_index_zero();
"""
_NO_DEFAULT = """
    DROP TRIGGER IF EXISTS chunk_index_zero ON tenant_knowledge;
    DROP FUNCTION IF EXISTS chunk_index_zero();
    ALTER TABLE tenant_knowledge ALTER COLUMN chunk_index DROP DEFAULT;
"""
_HAS_DEFAULT = """
    SELECT EXISTS (SELECT FROM pg_attrdef JOIN pg_attribute ON attrelid = adrelid AND attnum = adnum
                   WHERE adrelid = 'tenant_knowledge'::regclass AND attname = 'chunk_index'
                       AND pg_get_expr(adbin, adrelid) = '0')
       AND EXISTS (SELECT FROM pg_trigger WHERE tgrelid = 'tenant_knowledge'::regclass AND tgname = 'chunk_index_zero')
"""
_CHECK = "ALTER TABLE tenant_knowledge ADD CONSTRAINT chunk_index_set CHECK (chunk_index IS NOT NULL) NOT VALID"
_NO_CHECK = "ALTER TABLE tenant_knowledge DROP CONSTRAINT IF EXISTS chunk_index_set"
_VALIDATE = "ALTER TABLE tenant_knowledge VALIDATE CONSTRAINT chunk_index_set"
_NOT_NULL = "ALTER TABLE tenant_knowledge ALTER COLUMN chunk_index SET NOT NULL"
_NULLABLE = "ALTER TABLE tenant_knowledge ALTER COLUMN chunk_index DROP NOT NULL"
# Rows that somebody is writing are left for the next round: waiting for them could deadlock with their writer.
_FILL = """
    WITH batch AS (
        SELECT id FROM tenant_knowledge WHERE chunk_index IS NULL AND id > %s
        ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED
    ), filled AS (
        UPDATE tenant_knowledge SET chunk_index = 0 FROM batch WHERE tenant_knowledge.id = batch.id
        RETURNING tenant_knowledge.id
    )
    SELECT count(*), max(id) FROM filled
"""


def set_default(connection: BaseDatabaseWrapper) -> bool:
    """Make 0 the value of rows that name none or name NULL; return False if that was so already."""
    if _answer(connection, _HAS_DEFAULT):
        return False
    _run(connection, _DEFAULT)
    return True


def drop_default(connection: BaseDatabaseWrapper) -> None:
    _run(connection, _NO_DEFAULT)


def add_check(connection: BaseDatabaseWrapper) -> None:
    """Refuse NULL in rows written from now on; rows that are there are not looked at."""
    if not _answer(connection, "SELECT EXISTS (SELECT FROM pg_constraint WHERE conname = 'chunk_index_set')"):
        _run(connection, _CHECK)


def drop_check(connection: BaseDatabaseWrapper) -> None:
    _run(connection, _NO_CHECK)


def fill(connection: BaseDatabaseWrapper, report: Callable[[int], None] = lambda _rows: None) -> int:
    """Set every NULL to 0 in short transactions and return the number of rows; ``report`` hears it as it grows.

    Must run outside a transaction, or the locks of all batches are held to the end.
    """
    done, last_id, size = 0, -(2**63), BATCH_ROWS
    while True:
        began = time.monotonic()
        with connection.cursor() as cursor:
            cursor.execute(_FILL, [last_id, size])
            rows, highest_id = cursor.fetchone()
        took = time.monotonic() - began
        if rows:
            done, last_id = done + rows, highest_id
            size = max(10, min(BATCH_ROWS, int(size * BATCH_SECONDS / max(took, 0.001))))
            report(done)
        elif count_null(connection) == 0:
            return done
        else:
            last_id = -(2**63)  # somebody was writing the rows that are left
            time.sleep(0.2)
        time.sleep(min(took, 0.1))  # let the others have the disk


def count_null(connection: BaseDatabaseWrapper) -> int:
    return int(_answer(connection, "SELECT count(*) FROM tenant_knowledge WHERE chunk_index IS NULL"))  # type: ignore[call-overload]


def validate_check(connection: BaseDatabaseWrapper) -> None:
    """Have PostgreSQL read the whole table once, under a lock that stops neither readers nor writers."""
    _run(connection, _VALIDATE)


def set_not_null(connection: BaseDatabaseWrapper) -> None:
    """Mark the column NOT NULL; the validated check spares the scan under an exclusive lock."""
    _run(connection, f"{_NOT_NULL}; {_NO_CHECK}")


def drop_not_null(connection: BaseDatabaseWrapper) -> None:
    _run(connection, _NULLABLE)
    add_check(connection)
    validate_check(connection)


def _run(connection: BaseDatabaseWrapper, statements: str) -> None:
    """Run statements in one transaction, giving up soon on a taken lock and trying again for some minutes."""
    for tries_left in reversed(range(LOCK_TRIES)):
        try:
            with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
                cursor.execute(f"SET LOCAL lock_timeout = '{MAINTENANCE_LOCK_TIMEOUT}'; {_STOP_AUTOVACUUM}")
                cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'; {statements}")
            return
        except OperationalError as exc:
            if getattr(exc.__cause__, "pgcode", "") != LOCK_NOT_AVAILABLE or not tries_left:
                raise
        time.sleep(random.uniform(0.2, 1.0))  # noqa: S311 -- spreads tries, guards nothing


def _answer(connection: BaseDatabaseWrapper, question: str) -> object:
    with connection.cursor() as cursor:
        cursor.execute(question)
        return cursor.fetchone()[0]
