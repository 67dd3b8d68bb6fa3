from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("crawl", "0002_page_list"),
    ]

    operations = [
        migrations.AddField(
            model_name="crawlrun",
            name="is_partial",
            field=models.BooleanField(db_default=False, default=False),
        ),
    ]
