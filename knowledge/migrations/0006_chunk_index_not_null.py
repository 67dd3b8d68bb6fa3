"""Last step: NOT NULL, for which PostgreSQL takes the validated check's word instead of scanning under a lock.

The state and the database change apart: Django's own AlterField would scan the table for NULLs once more.
"""

from django.db import migrations, models

from knowledge import chunk_index


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("knowledge", "0005_chunk_index_validate")]

    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.AlterField("chunk", "chunk_index", models.IntegerField(db_default=0)),
            ],
            database_operations=[
                migrations.RunPython(
                    lambda _apps, editor: chunk_index.set_not_null(editor.connection),
                    lambda _apps, editor: chunk_index.drop_not_null(editor.connection),
                ),
            ],
        ),
    ]
