"""``manage.py versions prepare --tenant demo``: another version of a tenant's knowledge, beside the live one."""

import json
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.core.serializers.json import DjangoJSONEncoder

from core.errors import PasokhError
from crawl import versions
from tenants.models import Tenant

EXIT_REFUSED = 2


class Command(BaseCommand):
    help = (
        "Prepare a version of a tenant's knowledge, switch to it and back. Compare them with manage.py replay. "
        "Exit status: 0 done, 2 refused."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("action", choices=["status", "prepare", "switch", "rollback", "drop"], nargs="?",
                            default="status")  # fmt: skip
        parser.add_argument("--tenant", required=True, metavar="SLUG")
        parser.add_argument(
            "--copy", action="store_true", help="prepare: the texts as they are, with the settings' model"
        )
        parser.add_argument("--json", action="store_true", help="print the versions as one JSON line")

    def handle(self, *_args: Any, **options: Any) -> None:
        tenant = Tenant.objects.filter(slug=options["tenant"], version_of=None).first()
        if tenant is None:
            raise CommandError(f"There is no tenant “{options['tenant']}”.", returncode=EXIT_REFUSED)
        try:
            self._act(tenant, options)
        except PasokhError as exc:
            raise CommandError(str(exc), returncode=EXIT_REFUSED) from exc
        self._show(tenant, as_json=options["json"])

    def _act(self, tenant: Tenant, options: dict[str, Any]) -> None:
        match options["action"]:
            case "prepare":
                versions.prepare(tenant, recrawl=not options["copy"])
            case "switch":
                versions.switch(tenant)
            case "rollback":
                versions.roll_back(tenant)
            case "drop":
                versions.drop(versions.find(tenant, versions.NEXT))

    def _show(self, tenant: Tenant, *, as_json: bool) -> None:
        found = versions.statuses(tenant)
        if as_json:
            rows = [asdict(status) | {"is_ready": status.is_ready} for status in found]
            self.stdout.write(json.dumps({"versions": rows}, cls=DjangoJSONEncoder))
            return
        for status in found:
            state = "" if status.is_ready else f", at work: {status.crawls} crawls, {status.waiting} without vectors"
            kept = f", kept until {status.kept_until:%Y-%m-%d}" if status.kept_until else ""
            size = f"{status.documents} documents, {status.chunks} passages, {status.model}"
            self.stdout.write(f"{status.version}: {size}{state}{kept}")
