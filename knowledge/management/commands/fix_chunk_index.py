import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import ProgrammingError, connection

from knowledge import chunk_index


class Command(BaseCommand):
    help = "Give tenant_knowledge.chunk_index its default of 0, set rows that are NULL to 0, and report how many."
    requires_migrations_checks = False
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one line of JSON")

    def handle(self, *args: Any, json: bool, **options: Any) -> None:
        try:
            default_set = chunk_index.set_default(connection)
            rows = chunk_index.fill(connection, self._progress)
        except ProgrammingError as exc:
            raise CommandError(f"There is no tenant_knowledge.chunk_index to repair: {str(exc).strip()}") from exc
        self._report(default_set=default_set, rows=rows, as_json=json)

    def _progress(self, rows: int) -> None:
        if self.stderr.isatty():
            self.stderr.write(f"\r{rows} rows …", ending="")

    def _report(self, *, default_set: bool, rows: int, as_json: bool) -> None:
        left = chunk_index.count_null(connection)
        if as_json:
            self.stdout.write(json.dumps({"rows_updated": rows, "rows_null": left, "default_set": default_set}))
            return
        self.stdout.write("chunk_index has the default 0" + (" now." if default_set else " already."))
        self.stdout.write(f"{rows} rows updated from NULL to 0; {left} are NULL now.")
