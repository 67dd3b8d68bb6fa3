"""``manage.py support_bundle``: everything that helps to help, in one file without secrets."""

import io
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from core.support import bundle, redaction


class Command(BaseCommand):
    help = (
        "Collect logs, versions, settings, queues, workers and counts in a tar.gz without secrets. "
        "Works while Postgres or Redis is down, and says so inside."
    )
    requires_system_checks = ()
    requires_migrations_checks = False

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--output", metavar="FILE", help="where to write it; - is standard output")
        parser.add_argument(
            "--include", action="append", default=[], metavar="FILE",
            help="a further text, such as the output of docker compose logs; - is standard input",
        )  # fmt: skip

    def handle(self, *args: Any, **options: Any) -> None:
        included = dict(_read(name) for name in options["include"])
        content = io.BytesIO()
        problems = bundle.write(content, redaction.of_this_installation(), included)
        for problem in problems:
            self.stderr.write(f"not collected: {problem}")
        output = options["output"] or f"pasokh-support-{datetime.now(UTC):%Y%m%d-%H%M%S}.tar.gz"
        if output == "-":
            sys.stdout.buffer.write(content.getvalue())
        else:
            _write(Path(output), content.getvalue())
            self.stdout.write(f"{output}: {len(content.getvalue()) // 1024} kB. Look through it before you send it.")


def _read(name: str) -> tuple[str, bytes]:
    """Return the text's name inside the bundle and its end.

    Raises:
        CommandError: if it cannot be read.
    """
    keep = bundle.INCLUDED_MAX_BYTES + 1
    if name == "-":
        return "standard-input.txt", _end_of(sys.stdin.buffer, keep)
    try:
        with Path(name).open("rb") as file:
            return Path(name).name, _end_of(file, keep)
    except OSError as exc:
        raise CommandError(f"cannot read {name}: {exc.strerror}") from exc


def _end_of(file: Any, keep: int) -> bytes:
    """Return the last bytes of a stream of any length."""
    end = b""
    while piece := file.read(1 << 20):
        end = (end + piece)[-keep:]
    return end


def _write(path: Path, content: bytes) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
    except OSError as exc:
        raise CommandError(f"cannot write {path}: {exc.strerror}") from exc
