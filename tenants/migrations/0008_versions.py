import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("tenants", "0007_claims"),
    ]

    operations = [
        migrations.AddField(
            model_name="tenant",
            name="version",
            field=models.CharField(
                choices=[("next", "next"), ("previous", "previous")],
                db_default="",
                default="",
                editable=False,
                max_length=8,
            ),
        ),
        migrations.AddField(
            model_name="tenant",
            name="version_of",
            field=models.ForeignKey(
                editable=False,
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="versions",
                to="tenants.tenant",
            ),
        ),
        migrations.AddConstraint(
            model_name="tenant",
            constraint=models.UniqueConstraint(fields=("version_of", "version"), name="tenant_version_once"),
        ),
    ]
