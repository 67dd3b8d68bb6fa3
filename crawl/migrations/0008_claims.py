from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("crawl", "0007_upload")]

    operations = [
        migrations.AddField(
            model_name="upload",
            name="claims",
            field=models.PositiveSmallIntegerField(db_default=0, default=0, editable=False),
        ),
    ]
