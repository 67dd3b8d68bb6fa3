"""First step of the repair: no new NULL. Safe under the old code, which may go on writing NULL and gets 0."""

from django.db import migrations, models

from knowledge import chunk_index


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("knowledge", "0001_initial")]

    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.AlterField("chunk", "chunk_index", models.IntegerField(db_default=0, null=True)),
            ],
            database_operations=[
                migrations.RunPython(
                    lambda _apps, editor: chunk_index.set_default(editor.connection),
                    lambda _apps, editor: chunk_index.drop_default(editor.connection),
                ),
            ],
        ),
    ]
