"""``manage.py cleanup cache``: what the cleaning tasks do, here and now."""

import json
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from core import batches
from tasks_api.cleaning import PARTS

ALL = "all"
EXIT_FAILED = 1


class Command(BaseCommand):
    help = (
        "Delete what is past its time, as the scheduled tasks do; several at once do no harm. "
        "Exit status: 0 done (as far as the time reached), 1 a step failed (the others were done)."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("part", nargs="?", default=ALL, choices=[*PARTS, ALL], help="default: %(default)s")
        parser.add_argument(
            "--seconds", type=float, default=batches.SECONDS, help="for each part, then the rest stays: %(default)s"
        )
        parser.add_argument("--json", action="store_true", help="print {part: {kind: count}}")

    def handle(self, *_args: Any, **options: Any) -> None:
        parts = list(PARTS) if options["part"] == ALL else [options["part"]]
        counts: dict[str, dict[str, int]] = {}
        is_whole = True
        for part in parts:
            try:
                counts[part] = batches.run(PARTS[part], seconds=options["seconds"])
            except batches.CleaningError as exc:
                self.stderr.write(f"{part}: {exc} ({type(exc.__cause__).__name__})")
                counts[part], is_whole = exc.counts, False
        self._print(counts, as_json=options["json"])
        if not is_whole:
            sys.exit(EXIT_FAILED)

    def _print(self, counts: dict[str, dict[str, int]], *, as_json: bool) -> None:
        if as_json:
            self.stdout.write(json.dumps(counts))
            return
        for part, kinds in counts.items():
            for kind, count in kinds.items():
                self.stdout.write(f"{part}: {count} {kind.replace('_', ' ')}")
