"""Third step: the old rows, in short transactions of their own. Killed half-way, it goes on where it was."""

import sys

from django.db import migrations

from knowledge import chunk_index


def fill(_apps, editor):
    rows = chunk_index.fill(editor.connection)
    if rows:
        sys.stdout.write(f" chunk_index: {rows} rows updated from NULL to 0.")


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("knowledge", "0003_chunk_index_check")]

    operations = [migrations.RunPython(fill, migrations.RunPython.noop)]
