import pytest
from django.core.management import CommandError
from django.db import connection, transaction

from knowledge.pgvector_extension import PgvectorExtension


def create() -> None:
    with connection.schema_editor() as editor:
        PgvectorExtension().database_forwards("knowledge", editor, None, None)


@pytest.fixture
def plain_role(db):
    """Go on as somebody who may not create extensions; the test's transaction takes it back."""
    with connection.cursor() as cursor:
        cursor.execute("CREATE ROLE plain")
        yield cursor
        cursor.execute("RESET ROLE")


def test_an_extension_that_is_there_needs_no_rights(plain_role):
    plain_role.execute("SET ROLE plain")
    create()


def test_a_missing_extension_that_may_not_be_created_says_what_to_do(plain_role):
    plain_role.execute("DROP EXTENSION vector CASCADE")
    plain_role.execute("SET ROLE plain")

    with pytest.raises(CommandError, match=r"permission denied.*CREATE EXTENSION vector"), transaction.atomic():
        create()
