"""``manage.py create_tenant acme --name "Acme" --language fa``."""

import json
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from core.errors import PasokhError
from tenants import services


class Command(BaseCommand):
    help = "Create a tenant and its first API key, whose text is shown once."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slug", help="its short name: lower-case letters, digits, hyphens")
        parser.add_argument("--name", default="", help="its name for people (default: the slug)")
        parser.add_argument("--language", default="en", choices=[code for code, _name in settings.LANGUAGES])
        parser.add_argument("--json", action="store_true", help="print {id, slug, name, language, api_key}")

    def handle(self, *_args: Any, **options: Any) -> None:
        try:
            with transaction.atomic():
                tenant = services.create_tenant(
                    slug=options["slug"], name=options["name"], language=options["language"]
                )
                _key, text = services.create_api_key(tenant=tenant, name="first key")
        except PasokhError as exc:
            raise CommandError(str(exc)) from exc
        if options["json"]:
            shown = {"id": str(tenant.pk), "slug": tenant.slug, "name": tenant.name, "language": tenant.language}
            self.stdout.write(json.dumps(shown | {"api_key": text}, ensure_ascii=False))
        else:
            self.stdout.write(f"Tenant “{tenant.name}” ({tenant.slug}) is there. Its API key:\n{text}")
            self.stderr.write("Keep the key now: it is not stored and cannot be shown again.")
