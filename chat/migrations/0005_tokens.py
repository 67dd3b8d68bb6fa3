from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("chat", "0004_rating"),
    ]

    operations = [
        migrations.AddField(
            model_name="message",
            name="answer_tokens",
            field=models.PositiveIntegerField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name="message",
            name="cost_micros",
            field=models.PositiveBigIntegerField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name="message",
            name="held_tokens",
            field=models.PositiveIntegerField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name="message",
            name="note",
            field=models.CharField(
                blank=True,
                choices=[
                    ("shorter", "from the best passages alone: the day's tokens are nearly used up"),
                    ("used_up", "quoted: the day's tokens are used up"),
                ],
                db_default="",
                default="",
                max_length=8,
            ),
        ),
        migrations.AddField(
            model_name="message",
            name="prompt_tokens",
            field=models.PositiveIntegerField(db_default=0, default=0),
        ),
    ]
