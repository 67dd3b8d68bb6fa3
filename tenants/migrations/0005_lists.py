"""Indexes for lists over HTTP, made without holding up writers."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("tenants", "0004_retention")]

    operations = [
        AddIndexConcurrently("enduser", models.Index(fields=["tenant", "created_at", "id"], name="end_user_list")),
        AddIndexConcurrently("enduserday", models.Index(fields=["tenant", "day"], name="end_user_day_of_tenant")),
        AddIndexConcurrently(
            "webhookdelivery", models.Index(fields=["tenant", "created_at", "id"], name="webhook_delivery_list")
        ),
    ]
