import json
from collections.abc import Iterator

import psycopg2
import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.utils import timezone

from knowledge import chunk_index
from knowledge.models import Document
from tenants.services import create_tenant

START, END = "0001", "0006"


@pytest.fixture
def clients_database(transactional_db: None) -> Iterator[None]:
    """The table as the client's: a nullable column without default, and rows that hold NULL."""
    call_command("migrate", "knowledge", START, verbosity=0)
    yield
    execute("DELETE FROM tenant_knowledge")
    call_command("migrate", verbosity=0)  # with what other apps have built on it


@pytest.fixture
def document(clients_database: None) -> Document:
    tenant = create_tenant(slug="client")
    row = Document(tenant=tenant, url="https://client.example/", fetched_at=timezone.now())
    execute(  # the table is older than the model
        "INSERT INTO knowledge_document (id, tenant_id, url, title, language, content, content_hash, fetched_at,"
        " created_at, updated_at) VALUES (%s, %s, %s, '', '', '', '', %s, now(), now())",
        [row.pk, tenant.pk, row.url, row.fetched_at],
    )
    return row


def execute(statement: str, parameters: list[object] | None = None) -> list[tuple]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchall() if cursor.description else []


def connect() -> psycopg2.extensions.connection:
    """Another client of the same database, as an old worker would be."""
    parameters = connection.get_connection_params()
    return psycopg2.connect(**{name: parameters[name] for name in ("dbname", "user", "password", "host", "port")})


def insert_chunks(document: Document, count: int, chunk_index: int | None = None) -> None:
    execute(
        "INSERT INTO tenant_knowledge (tenant_id, document_id, chunk_index, heading_path, content, content_hash,"
        " embedding_model, word_count) SELECT %s, %s, %s, '', 'text ' || n, '', '', 0 FROM generate_series(1, %s) n",
        [document.tenant_id, document.pk, chunk_index, count],
    )


def values() -> dict[int | None, int]:
    return dict(execute("SELECT chunk_index, count(*) FROM tenant_knowledge GROUP BY 1"))


def test_migrating_sets_null_rows_to_zero_keeps_the_others_and_reports_the_count(document, capsys):
    insert_chunks(document, 2500)
    insert_chunks(document, 3, chunk_index=7)

    call_command("migrate", "knowledge")

    assert "2500 rows updated from NULL to 0" in capsys.readouterr().out
    assert values() == {0: 2500, 7: 3}
    column = "SELECT attnotnull FROM pg_attribute WHERE attrelid = 'tenant_knowledge'::regclass AND attname = %s"
    assert execute(column, ["chunk_index"]) == [(True,)]


def test_old_code_that_writes_null_runs_on_beside_every_step(document):
    insert_chunks(document, 5)
    for step, target in enumerate(["0002", "0003", "0004", "0005", "0006"], start=1):
        call_command("migrate", "knowledge", target, verbosity=0)
        insert_chunks(document, 1)  # names chunk_index, as Django's INSERT does, and gives NULL
        execute("UPDATE tenant_knowledge SET content = content || '!'")
        assert values() == {0: 5 + step}


def test_a_repair_killed_between_batches_goes_on_where_it_was(document):
    insert_chunks(document, 2500)
    call_command("migrate", "knowledge", "0003", verbosity=0)

    class KilledError(Exception):
        pass

    def die(_rows: int) -> None:
        raise KilledError

    with pytest.raises(KilledError):
        chunk_index.fill(connection, die)
    assert values()[0] == 1000

    call_command("migrate", "knowledge", verbosity=0)
    assert values() == {0: 2500}


@pytest.mark.parametrize("done", ["0002", "0003", "0004", "0005"])
def test_each_step_may_run_again_when_only_its_record_was_lost(document, done):
    insert_chunks(document, 3)
    call_command("migrate", "knowledge", done, verbosity=0)
    execute("DELETE FROM django_migrations WHERE app = 'knowledge' AND name LIKE %s", [f"{done}%"])

    call_command("migrate", "knowledge", verbosity=0)

    assert values() == {0: 3}


def test_migrating_back_and_forth_leaves_nothing_behind(document):
    insert_chunks(document, 3)
    call_command("migrate", "knowledge", END, verbosity=0)
    call_command("migrate", "knowledge", START, verbosity=0)
    insert_chunks(document, 1)

    assert values() == {0: 3, None: 1}
    assert execute("SELECT FROM pg_constraint WHERE conname = 'chunk_index_set'") == []
    assert execute("SELECT FROM pg_proc WHERE proname = 'chunk_index_zero'") == []


def test_the_command_repairs_a_clients_database_and_reports_then_finds_nothing_to_do(document, capsys):
    insert_chunks(document, 12)

    call_command("fix_chunk_index", "--json")
    assert json.loads(capsys.readouterr().out) == {"rows_updated": 12, "rows_null": 0, "default_set": True}
    execute(
        "INSERT INTO tenant_knowledge (tenant_id, document_id, heading_path, content, content_hash, embedding_model,"
        " word_count) VALUES (%s, %s, '', 'x', '', '', 0)",
        [document.tenant_id, document.pk],
    )
    assert values() == {0: 13}

    call_command("fix_chunk_index", "--json")
    assert json.loads(capsys.readouterr().out) == {"rows_updated": 0, "rows_null": 0, "default_set": False}
    call_command("fix_chunk_index")
    assert "0 rows updated" in capsys.readouterr().out


def test_the_command_says_so_when_the_table_is_missing(transactional_db):
    with transaction.atomic():
        execute("ALTER TABLE tenant_knowledge RENAME TO elsewhere")
        with pytest.raises(CommandError, match=r"no tenant_knowledge\.chunk_index"), transaction.atomic():
            call_command("fix_chunk_index")
        transaction.set_rollback(True)


def test_rows_that_are_being_written_are_waited_for_and_block_nobody(document):
    insert_chunks(document, 20)
    other = connect()
    seen: list[int] = []
    try:
        with other.cursor() as cursor:
            cursor.execute("UPDATE tenant_knowledge SET content = 'mine' WHERE content = 'text 5'")

        def release_at_first_report(rows: int) -> None:
            seen.append(rows)
            if len(seen) == 1:
                other.commit()

        assert chunk_index.fill(connection, release_at_first_report) == 20
    finally:
        other.close()
    assert seen == [19, 20]
    assert values() == {0: 20}


def test_a_step_gives_way_to_a_long_reader_and_comes_again(document, monkeypatch):
    """A waiting ALTER TABLE would hold up everybody behind it: it must give up and try again."""
    insert_chunks(document, 1)
    monkeypatch.setattr(chunk_index, "LOCK_TIMEOUT", "50ms")
    other = connect()
    tries: list[float] = []
    try:
        with other.cursor() as cursor:
            cursor.execute("SELECT FROM tenant_knowledge")

        def wait(seconds: float) -> None:
            tries.append(seconds)
            if len(tries) == 2:
                other.rollback()

        monkeypatch.setattr(chunk_index.time, "sleep", wait)
        assert chunk_index.set_default(connection) is True
    finally:
        other.close()
    assert len(tries) == 2
