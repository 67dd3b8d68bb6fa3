from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("knowledge", "0010_tenant_words")]

    operations = [
        migrations.AddField(
            model_name="fullsync",
            name="claims",
            field=models.PositiveSmallIntegerField(db_default=0, default=0, editable=False),
        ),
        migrations.AddField(
            model_name="syncitem",
            name="claims",
            field=models.PositiveSmallIntegerField(db_default=0, default=0, editable=False),
        ),
    ]
