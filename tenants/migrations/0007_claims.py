from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("tenants", "0006_fresh_days")]

    operations = [
        migrations.AddField(
            model_name="notification",
            name="claims",
            field=models.PositiveSmallIntegerField(db_default=0, default=0, editable=False),
        ),
        migrations.AddField(
            model_name="webhookdelivery",
            name="claims",
            field=models.PositiveSmallIntegerField(db_default=0, default=0, editable=False),
        ),
    ]
