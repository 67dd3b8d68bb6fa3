from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("chat", "0003_query_cache_and_archive"),
    ]

    operations = [
        migrations.AddField(
            model_name="message",
            name="rated_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="message",
            name="rating",
            field=models.CharField(
                blank=True,
                choices=[("up", "helpful"), ("down", "not helpful")],
                db_default="",
                default="",
                max_length=4,
            ),
        ),
    ]
