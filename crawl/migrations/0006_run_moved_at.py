from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("crawl", "0005_outcomes_selectors_schedule"),
    ]

    operations = [
        migrations.AddField(
            model_name="crawlrun",
            name="moved_at",
            field=models.DateTimeField(null=True),
        ),
    ]
