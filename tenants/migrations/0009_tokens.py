import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("tenants", "0008_versions"),
    ]

    operations = [
        migrations.AddField(
            model_name="tenant",
            name="daily_tokens",
            field=models.PositiveIntegerField(blank=True, null=True, verbose_name="tokens of a language model a day"),
        ),
        migrations.CreateModel(
            name="TokenDay",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("day", models.DateField()),
                ("held", models.PositiveIntegerField(default=0)),
                ("prompt_tokens", models.PositiveBigIntegerField(default=0)),
                ("answer_tokens", models.PositiveBigIntegerField(default=0)),
                ("cost_micros", models.PositiveBigIntegerField(default=0)),
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
                "verbose_name": "day of tokens",
                "verbose_name_plural": "days of tokens",
                "constraints": [models.UniqueConstraint(fields=("tenant", "day"), name="token_day_once_per_tenant")],
            },
        ),
    ]
