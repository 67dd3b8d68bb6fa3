import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("tenants", "0009_tokens"),
    ]

    operations = [
        migrations.AddField(
            model_name="tenant",
            name="holder",
            field=models.ForeignKey(
                editable=False,
                null=True,
                on_delete=django.db.models.deletion.RESTRICT,
                related_name="+",
                to="tenants.tenant",
            ),
        ),
        migrations.AddField(
            model_name="tenant",
            name="version_since",
            field=models.DateTimeField(editable=False, null=True),
        ),
        migrations.AlterField(
            model_name="tenant",
            name="version",
            field=models.CharField(
                choices=[("next", "next"), ("previous", "previous"), ("dropped", "dropped")],
                db_default="",
                default="",
                editable=False,
                max_length=8,
            ),
        ),
        migrations.RemoveConstraint(model_name="tenant", name="tenant_version_once"),
        migrations.AddConstraint(
            model_name="tenant",
            constraint=models.UniqueConstraint(
                condition=models.Q(("version", "dropped"), _negated=True),
                fields=("version_of", "version"),
                name="tenant_version_once",
            ),
        ),
        migrations.RunSQL(
            "UPDATE tenants_tenant SET version_since = created_at WHERE version <> ''", migrations.RunSQL.noop
        ),
    ]
