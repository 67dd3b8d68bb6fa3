import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("knowledge", "0008_full_sync"),
        ("tenants", "0006_fresh_days"),
    ]

    operations = [
        migrations.CreateModel(
            name="Refetch",
            fields=[
                (
                    "document",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="refetch",
                        serialize=False,
                        to="knowledge.document",
                    ),
                ),
                (
                    "reason",
                    models.CharField(
                        choices=[
                            ("disliked", "an answer from it was disliked"),
                            ("old", "an answer from it rests on an old reading"),
                        ],
                        max_length=10,
                    ),
                ),
                ("asked_at", models.DateTimeField()),
                ("taken_at", models.DateTimeField(null=True)),
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
                "verbose_name": "wish to read a page again",
                "verbose_name_plural": "wishes to read a page again",
                "indexes": [
                    models.Index(condition=models.Q(("taken_at", None)), fields=["asked_at"], name="refetch_waiting")
                ],
            },
        ),
    ]
