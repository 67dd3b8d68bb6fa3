"""``manage.py create_api_key --tenant demo --name "our website" --scope query``, or ``--operator``."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from core.errors import PasokhError
from tenants import services
from tenants.models import Tenant
from tenants.scopes import Scope


class Command(BaseCommand):
    help = "Create an API key and show its text, once."

    def add_arguments(self, parser: CommandParser) -> None:
        owner = parser.add_mutually_exclusive_group(required=True)
        owner.add_argument("--tenant", metavar="SLUG", help="the tenant that the key acts for")
        owner.add_argument("--operator", action="store_true", help="a key for those who run the platform")
        parser.add_argument("--name", required=True, help="where the key is used, for people")
        parser.add_argument(
            "--scope",
            action="append",
            metavar="SCOPE",
            help=f"may be repeated: {', '.join(Scope.values)} (default: all)",
        )
        parser.add_argument("--json", action="store_true", help="print {id, key, scopes}")

    def handle(self, *_args: Any, **options: Any) -> None:
        if options["operator"] and options["scope"]:
            raise CommandError("An operator's key has no scopes; leave --scope out.")
        try:
            key, text = self._create(options)
        except PasokhError as exc:
            raise CommandError(str(exc)) from exc
        if options["json"]:
            self.stdout.write(json.dumps({"id": str(key.pk), "key": text, "scopes": key.scopes}))
        else:
            self.stdout.write(text)
            self.stderr.write("Keep it now: it is not stored and cannot be shown again.")

    def _create(self, options: dict[str, Any]) -> Any:
        if options["operator"]:
            return services.create_operator_key(name=options["name"])
        tenant = Tenant.objects.filter(slug=options["tenant"]).first()
        if tenant is None:
            raise CommandError(f"There is no tenant “{options['tenant']}”.")
        return services.create_api_key(tenant=tenant, name=options["name"], scopes=options["scope"])
