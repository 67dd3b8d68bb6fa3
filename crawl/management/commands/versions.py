"""``manage.py versions prepare --tenant demo``: another version of a tenant's knowledge, beside the live one."""

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.core.serializers.json import DjangoJSONEncoder
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from core.errors import PasokhError
from crawl import versions
from tenants.models import Tenant

POLL_SECONDS = 1.0
LINE_SECONDS = 5.0  # between two lines where there is no terminal
EXIT_FAILED = 1
EXIT_REFUSED = 2


class Command(BaseCommand):
    help = (
        "Prepare a version of a tenant's knowledge, switch to it and back. Compare them with manage.py replay. "
        "Workers prepare it; --wait follows them. Exit status: 0 done (or begun, without --wait), 1 it could not be "
        "prepared, 2 refused."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("action", choices=["status", "prepare", "switch", "rollback", "drop"], nargs="?",
                            default="status")  # fmt: skip
        parser.add_argument("--tenant", required=True, metavar="SLUG")
        parser.add_argument(
            "--copy", action="store_true", help="prepare: the texts as they are, with the settings' model"
        )
        parser.add_argument("--wait", action="store_true", help="prepare: follow it until it is ready")
        parser.add_argument("--json", action="store_true", help="print the versions as one JSON line")

    def handle(self, *_args: Any, **options: Any) -> None:
        tenant = Tenant.objects.filter(slug=options["tenant"], version_of=None).first()
        if tenant is None:
            raise CommandError(f"There is no tenant “{options['tenant']}”.", returncode=EXIT_REFUSED)
        try:
            self._act(tenant, options)
        except PasokhError as exc:
            raise CommandError(str(exc), returncode=EXIT_REFUSED) from exc
        if options["wait"] and options["action"] == "prepare":
            self._follow(tenant, is_quiet=options["json"])
        self._show(tenant, as_json=options["json"])
        if options["wait"] and any(status.error for status in versions.statuses(tenant)):
            sys.exit(EXIT_FAILED)

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

    def _follow(self, tenant: Tenant, *, is_quiet: bool) -> None:
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        is_shown = console.is_terminal and not is_quiet
        try:
            with Progress(*columns, console=console, disable=not is_shown, transient=True) as bar:
                shown, last_line = bar.add_task("", total=None), time.monotonic()
                for work in _until_prepared(tenant):
                    done = {"total": work.documents + work.to_copy, "completed": work.documents}
                    bar.update(shown, description=work.left, **(done if work.to_copy else {"total": None}))
                    if not (is_shown or is_quiet) and time.monotonic() - last_line >= LINE_SECONDS:
                        last_line = time.monotonic()
                        self.stderr.write(f"{work.documents} documents there, still to come: {work.left}")
        except KeyboardInterrupt:
            self.stderr.write("Stopped watching; the workers go on.")

    def _show(self, tenant: Tenant, *, as_json: bool) -> None:
        found = versions.statuses(tenant)
        if as_json:
            rows = [asdict(status) | {"is_ready": status.is_ready} for status in found]
            self.stdout.write(json.dumps({"versions": rows}, cls=DjangoJSONEncoder))
            return
        for status in found:
            state = f", still to come: {status.left}" if status.left else ""
            state = f", not copied: {status.error}" if status.error else state
            kept = f", kept until {status.kept_until:%Y-%m-%d}" if status.kept_until else ""
            size = f"{status.documents} documents, {status.chunks} passages, {status.model}"
            self.stdout.write(f"{status.version}: {size}{state}{kept}")


def _until_prepared(tenant: Tenant) -> Iterator[versions.Work]:
    """Yield what the next version still has to do, again and again until it is ready, or all is lost."""
    while holder := tenant.find_version(versions.NEXT):
        work = versions.work_of(holder)
        if work.error or work.is_ready or not work.left:
            return
        yield work
        time.sleep(POLL_SECONDS)
