"""What an API key may do. Few words, each the name of a group of addresses (docs/http-conventions.md)."""

from django.db import models
from django.utils.translation import gettext_lazy as _


class Scope(models.TextChoices):
    QUERY = "query", _("ask questions, read conversations, stop answers")
    SOURCES = "sources", _("websites, crawls, documents, search and syncing")
    TASKS = "tasks", _("see, revoke and retry tasks")
    ADMIN = "admin", _("keys, end users, webhooks and usage")


def all_scopes() -> list[str]:
    """Return what a key may do when nothing is said: everything of its tenant."""
    return [scope.value for scope in Scope]
