from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("crawl", "0003_partial_run")]

    operations = [
        migrations.AddField(model_name="page", name="lease_token", field=models.UUIDField(null=True)),
    ]
