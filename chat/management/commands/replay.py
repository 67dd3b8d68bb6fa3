"""``manage.py replay --tenant demo``: which answers would change with another version of the knowledge."""

import json
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone
from rich.console import Console
from rich.table import Table

from chat import replaying
from chat.replaying import Comparison
from tenants.models import Tenant

EXIT_REFUSED = 2
SHOWN_CHARS = 160
VERSIONS = [Tenant.Version.NEXT, Tenant.Version.PREVIOUS]


class Command(BaseCommand):
    help = (
        "Ask a tenant's most frequent questions of the live knowledge and of another version, and show what changes. "
        "Nothing is stored, and nobody who asked is named. Exit status: 0 done, 2 there is nothing to compare."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--tenant", required=True, metavar="SLUG")
        parser.add_argument("--against", choices=VERSIONS, default=Tenant.Version.NEXT)
        parser.add_argument("--questions", type=int, default=50, metavar="N", help="default: %(default)s")
        parser.add_argument("--days", type=int, default=90, help="of the questions' age; default: %(default)s")
        parser.add_argument("--json", action="store_true", help="print all answers as one JSON line")

    def handle(self, *_args: Any, **options: Any) -> None:
        tenant = Tenant.objects.filter(slug=options["tenant"], version_of=None).first()
        if tenant is None:
            raise CommandError(f"There is no tenant “{options['tenant']}”.", returncode=EXIT_REFUSED)
        other = tenant.find_version(options["against"])
        if other is None:
            advice = f"Prepare one: manage.py versions prepare --tenant {tenant.slug}"
            raise CommandError(f"There is no {options['against']} version. {advice}", returncode=EXIT_REFUSED)
        since = timezone.now() - timedelta(days=options["days"])
        questions = replaying.frequent_questions(tenant, since=since, limit=options["questions"])
        found = [replaying.compare(question, asked, live=tenant, other=other) for question, asked in questions]
        if options["json"]:
            self.stdout.write(json.dumps(_as_json(found, options["against"]), ensure_ascii=False))
        else:
            self._show(found)

    def _show(self, found: list[Comparison]) -> None:
        changed = [one for one in found if one.changes]
        table = Table("asked", "question", "changes", "live", "other")
        for one in changed:
            sides = [f"{side.text[:SHOWN_CHARS]}\n{' '.join(side.pages)}" for side in (one.live, one.other)]
            table.add_row(str(one.asked), one.question[:SHOWN_CHARS], ", ".join(one.changes), *sides)
        if changed:
            Console(file=self.stdout, markup=False).print(table)  # type: ignore[arg-type]
        self.stdout.write(f"{len(changed)} of {len(found)} questions would be answered otherwise.")


def _as_json(found: list[Comparison], against: str) -> dict[str, Any]:
    rows = [
        {"question": one.question, "asked": one.asked, "changes": one.changes}
        | {
            name: {"text": side.text, "pages": list(side.pages), "is_refused": side.is_refused}
            for name, side in (("live", one.live), ("other", one.other))
        }
        for one in found
    ]
    return {
        "against": against,
        "questions": len(rows),
        "changed": sum(bool(one.changes) for one in found),
        "rows": rows,
    }
