"""``manage.py limits show --tenant acme --user u1``; ``manage.py limits reset --tenant acme --user u1``."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from tenants import services
from tenants.models import EndUser, Tenant

EXIT_UNKNOWN = 2


class Command(BaseCommand):
    help = (
        "Show, or let begin anew, today's limit of one end user, or of a tenant and everyone in it. "
        "Exit status: 0 done, 2 there is no such tenant or end user."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("action", choices=["show", "reset"])
        parser.add_argument("--tenant", required=True, metavar="SLUG")
        parser.add_argument(
            "--user", metavar="ID", help="the id in the tenant's own system; left out: the whole tenant"
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *_args: Any, **options: Any) -> None:
        tenant = Tenant.objects.filter(slug=options["tenant"]).first()
        if tenant is None:
            raise CommandError(f"There is no tenant “{options['tenant']}”.", returncode=EXIT_UNKNOWN)
        end_user = None
        if options["user"] is not None:
            end_user = EndUser.objects.for_tenant(tenant).filter(external_id=options["user"]).first()
            if end_user is None:
                raise CommandError(f"“{options['user']}” has asked nothing yet.", returncode=EXIT_UNKNOWN)
        given_back = None
        if options["action"] == "reset":
            given_back = services.reset_limit(tenant=tenant, end_user=end_user).units
        self._print(tenant, end_user, given_back, as_json=options["json"])

    def _print(self, tenant: Tenant, end_user: EndUser | None, given_back: int | None, *, as_json: bool) -> None:
        left = services.allowance(tenant=tenant, end_user=end_user)
        if as_json:
            shown = {
                "tenant": tenant.slug,
                "user_id": end_user.external_id if end_user else None,
                "limit": left.limit,
                "used": left.used,
                "remaining": left.remaining,
                "resets_at": left.resets_at.isoformat(),
            }
            reset = {} if given_back is None else {"given_back": given_back}
            self.stdout.write(json.dumps(shown | reset, ensure_ascii=False))
            return
        if given_back is not None:
            self.stdout.write(f"Begun anew; {given_back} questions of today are given back.")
        limit = "no limit" if left.limit is None else f"{left.used} of {left.limit} used"
        self.stdout.write(
            f"{end_user or tenant}: {limit} today; a new day begins at {left.resets_at:%Y-%m-%d %H:%M} UTC."
        )
