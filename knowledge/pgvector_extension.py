"""The pgvector extension, asked for in a way that says what to do when it is not there."""

from typing import Any

from django.core.management import CommandError
from django.db import DatabaseError
from pgvector.django import VectorExtension


class PgvectorExtension(VectorExtension):
    """Create the extension unless the database has it; a superuser is needed only where it is missing."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        try:
            super().database_forwards(app_label, schema_editor, from_state, to_state)
        except DatabaseError as exc:
            raise CommandError(
                "The database has no pgvector extension, and it could not be created: "
                f"{str(exc).splitlines()[0]}. Install pgvector 0.8 or newer on the database server (Debian: apt "
                "install postgresql-16-pgvector), then run once as a superuser in this very database: "
                "CREATE EXTENSION vector;"
            ) from exc
