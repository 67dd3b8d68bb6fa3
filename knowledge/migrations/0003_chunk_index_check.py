"""Second step: PostgreSQL vouches for every row written from now on, without looking at the old ones."""

from django.db import migrations

from knowledge import chunk_index


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("knowledge", "0002_chunk_index_default")]

    operations = [
        migrations.RunPython(
            lambda _apps, editor: chunk_index.add_check(editor.connection),
            lambda _apps, editor: chunk_index.drop_check(editor.connection),
        ),
    ]
