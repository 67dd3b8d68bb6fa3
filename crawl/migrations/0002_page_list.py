"""Indexes for lists over HTTP, made without holding up writers."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("crawl", "0001_initial")]

    operations = [
        AddIndexConcurrently("page", models.Index(fields=["website", "created_at", "id"], name="page_list")),
    ]
