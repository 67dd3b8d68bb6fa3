import uuid

import django.contrib.postgres.indexes
import django.contrib.postgres.search
import django.db.models.deletion
import django.db.models.functions.datetime
import pgvector.django.vector
from django.db import migrations, models

from knowledge.pgvector_extension import PgvectorExtension


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("tenants", "0001_initial"),
    ]

    operations = [
        PgvectorExtension(),
        migrations.CreateModel(
            name="Document",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("url", models.CharField(max_length=2000)),
                ("title", models.CharField(blank=True, max_length=500)),
                ("language", models.CharField(blank=True, max_length=8)),
                ("content", models.TextField()),
                ("content_hash", models.CharField(max_length=64)),
                ("fetched_at", models.DateTimeField()),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("updated_at", models.DateTimeField(auto_now=True)),
                (
                    "tenant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="tenants.tenant",
                        verbose_name="tenant",
                    ),
                ),
            ],
            options={
                "verbose_name": "document",
                "verbose_name_plural": "documents",
            },
        ),
        migrations.CreateModel(
            name="Chunk",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("chunk_index", models.IntegerField(null=True)),
                ("heading_path", models.TextField(blank=True)),
                ("content", models.TextField()),
                ("content_hash", models.CharField(blank=True, max_length=64)),
                ("embedding", pgvector.django.vector.VectorField(null=True)),
                ("embedding_model", models.CharField(blank=True, max_length=200)),
                ("search_vector", django.contrib.postgres.search.SearchVectorField(null=True)),
                ("word_count", models.PositiveIntegerField(default=0)),
                (
                    "tenant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="tenants.tenant",
                        verbose_name="tenant",
                    ),
                ),
                (
                    "document",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="chunks", to="knowledge.document"
                    ),
                ),
            ],
            options={
                "verbose_name": "chunk",
                "verbose_name_plural": "chunks",
                "db_table": "tenant_knowledge",
            },
        ),
        migrations.CreateModel(
            name="SyncItem",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "state",
                    models.CharField(
                        choices=[("queued", "queued"), ("running", "running"), ("done", "done"), ("failed", "failed")],
                        default="queued",
                        max_length=10,
                    ),
                ),
                ("attempts", models.PositiveSmallIntegerField(default=0)),
                ("not_before", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("sent_at", models.DateTimeField(null=True)),
                ("lease_until", models.DateTimeField(null=True)),
                ("lease_token", models.UUIDField(null=True)),
                ("error", models.TextField(blank=True)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                (
                    "document",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE, related_name="sync_item", to="knowledge.document"
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="tenants.tenant",
                        verbose_name="tenant",
                    ),
                ),
            ],
            options={
                "verbose_name": "sync item",
                "verbose_name_plural": "sync items",
            },
        ),
        migrations.AddConstraint(
            model_name="document",
            constraint=models.UniqueConstraint(fields=("tenant", "url"), name="document_once_per_tenant"),
        ),
        migrations.AddIndex(
            model_name="chunk",
            index=models.Index(fields=["document", "chunk_index"], name="chunk_order"),
        ),
        migrations.AddIndex(
            model_name="chunk",
            index=django.contrib.postgres.indexes.GinIndex(fields=["search_vector"], name="chunk_words"),
        ),
        migrations.AddIndex(
            model_name="chunk",
            index=models.Index(fields=["tenant", "content_hash"], name="chunk_same_text"),
        ),
        migrations.AddIndex(
            model_name="syncitem",
            index=models.Index(
                condition=models.Q(("sent_at__isnull", True), ("state", "queued")),
                fields=["tenant", "not_before"],
                name="sync_item_waiting",
            ),
        ),
        migrations.AddIndex(
            model_name="syncitem",
            index=models.Index(
                condition=models.Q(
                    models.Q(("sent_at__isnull", False), ("state", "queued")), ("state", "running"), _connector="OR"
                ),
                fields=["tenant"],
                name="sync_item_sent",
            ),
        ),
        # A vector of 384 numbers is 1.5 kB: left to itself it moves out of the row, and a scan of a tenant's
        # vectors then fetches each from the TOAST table.
        migrations.RunSQL(
            "ALTER TABLE tenant_knowledge ALTER COLUMN embedding SET STORAGE MAIN",
            migrations.RunSQL.noop,
        ),
    ]
