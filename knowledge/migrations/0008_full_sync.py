import uuid

import django.db.models.deletion
import django.db.models.functions.datetime
import pgvector.django.vector
from django.db import migrations, models

# Each tenant goes on being searched with the model that made most of its vectors.
SETTLE = """
    INSERT INTO knowledge_searchmodel (tenant_id, model)
    SELECT DISTINCT ON (tenant_id) tenant_id, embedding_model FROM (
        SELECT tenant_id, embedding_model, count(*) AS count FROM tenant_knowledge
        WHERE embedding_model <> '' AND embedding IS NOT NULL
        GROUP BY tenant_id, embedding_model
    ) made
    ORDER BY tenant_id, count DESC
"""


class Migration(migrations.Migration):
    dependencies = [
        ("knowledge", "0007_knowledge_version"),
        ("tenants", "0003_scopes_operators_and_idempotency"),
    ]

    operations = [
        migrations.CreateModel(
            name="EmbeddingDeletion",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("url", models.CharField(max_length=2000)),
                (
                    "state",
                    models.CharField(
                        choices=[("queued", "queued"), ("running", "running"), ("done", "done"), ("failed", "failed")],
                        default="queued",
                        max_length=10,
                    ),
                ),
                ("chunk_count", models.PositiveIntegerField(default=0)),
                ("sent_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("finished_at", models.DateTimeField(null=True)),
            ],
            options={
                "verbose_name": "deletion of embeddings",
                "verbose_name_plural": "deletions of embeddings",
            },
        ),
        migrations.CreateModel(
            name="FullSync",
            fields=[
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
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("model", models.CharField(max_length=200)),
                ("previous_model", models.CharField(max_length=200)),
                (
                    "stage",
                    models.CharField(
                        choices=[("embedding", "embedding"), ("moving", "moving")], default="embedding", max_length=10
                    ),
                ),
                ("batch_size", models.PositiveIntegerField()),
                ("total", models.PositiveIntegerField(default=0)),
                ("done", models.PositiveIntegerField(default=0)),
                ("failed", models.PositiveIntegerField(default=0)),
                ("cursor", models.BigIntegerField(default=0)),
                ("last_chunk_id", models.BigIntegerField(default=0)),
                ("switched_at", models.DateTimeField(null=True)),
                ("finished_at", models.DateTimeField(null=True)),
            ],
            options={
                "verbose_name": "full sync",
                "verbose_name_plural": "full syncs",
            },
        ),
        migrations.CreateModel(
            name="SearchModel",
            fields=[
                (
                    "tenant",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="search_model",
                        serialize=False,
                        to="tenants.tenant",
                        verbose_name="tenant",
                    ),
                ),
                ("model", models.CharField(max_length=200)),
            ],
            options={
                "verbose_name": "search model",
                "verbose_name_plural": "search models",
            },
        ),
        migrations.AddField(
            model_name="chunk",
            name="next_embedding",
            field=pgvector.django.vector.VectorField(null=True),
        ),
        migrations.AddField(
            model_name="chunk",
            name="next_embedding_model",
            field=models.CharField(blank=True, db_default="", default="", max_length=200),
        ),
        migrations.AddField(
            model_name="document",
            name="excluded_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddIndex(
            model_name="chunk",
            index=models.Index(
                condition=models.Q(("next_embedding_model", ""), _negated=True),
                fields=["tenant", "next_embedding_model"],
                name="chunk_next_model",
            ),
        ),
        migrations.AddField(
            model_name="embeddingdeletion",
            name="document",
            field=models.ForeignKey(
                null=True, on_delete=django.db.models.deletion.SET_NULL, related_name="+", to="knowledge.document"
            ),
        ),
        migrations.AddField(
            model_name="embeddingdeletion",
            name="tenant",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE,
                related_name="+",
                to="tenants.tenant",
                verbose_name="tenant",
            ),
        ),
        migrations.AddField(
            model_name="fullsync",
            name="tenant",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE,
                related_name="+",
                to="tenants.tenant",
                verbose_name="tenant",
            ),
        ),
        migrations.AddIndex(
            model_name="embeddingdeletion",
            index=models.Index(
                condition=models.Q(("state", "queued")), fields=["sent_at"], name="embedding_deletion_waiting"
            ),
        ),
        migrations.AddConstraint(
            model_name="embeddingdeletion",
            constraint=models.UniqueConstraint(
                condition=models.Q(("state", "queued")), fields=("document",), name="embedding_deletion_one_open"
            ),
        ),
        migrations.AddIndex(
            model_name="fullsync",
            index=models.Index(fields=["tenant", "-created_at"], name="full_sync_newest"),
        ),
        migrations.AddConstraint(
            model_name="fullsync",
            constraint=models.UniqueConstraint(
                condition=models.Q(("state__in", ["queued", "running"])), fields=("tenant",), name="full_sync_one_open"
            ),
        ),
        migrations.RunSQL(
            "ALTER TABLE tenant_knowledge ALTER COLUMN next_embedding SET STORAGE MAIN",
            migrations.RunSQL.noop,
        ),
        migrations.RunSQL(SETTLE, migrations.RunSQL.noop),
    ]
