import django.core.validators
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("tenants", "0005_lists"),
    ]

    operations = [
        migrations.AddField(
            model_name="tenant",
            name="fresh_days",
            field=models.PositiveIntegerField(
                blank=True,
                null=True,
                validators=[django.core.validators.MaxValueValidator(36500)],
                verbose_name="read a cited page again if it was last read before days",
            ),
        ),
    ]
