"""Fourth step: read the table once and vouch for the old rows too; readers and writers go on."""

from django.db import migrations

from knowledge import chunk_index


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("knowledge", "0004_chunk_index_fill")]

    operations = [
        migrations.RunPython(
            lambda _apps, editor: chunk_index.validate_check(editor.connection),
            migrations.RunPython.noop,
        ),
    ]
