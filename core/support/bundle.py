"""Puts the parts and the ends of the logs into one archive; all text passes the redactor."""

import io
import tarfile
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from django.conf import settings
from django.db import connections

from core.postgres.base import patience
from core.support.parts import PARTS
from core.support.redaction import Redactor

PART_SECONDS = 20.0
LOG_MAX_BYTES = 512 * 1024
LOGS_MAX_COUNT = 60
INCLUDED_MAX_BYTES = 8 * 1024 * 1024
CUT = "[the beginning is left out]\n"
ABOUT = """\
Made by manage.py support_bundle on {when} (UTC).
Passwords, API keys, webhook secrets, session ids and the like are replaced by [removed]. Names of hosts and addresses
of pages may be in it; questions and answers are not. Look through it before you send it.
{problems}"""


def write(
    output: BinaryIO, redactor: Redactor, included: Mapping[str, bytes], parts: Mapping[str, Callable[[], str]] = PARTS
) -> list[str]:
    """Write the bundle as tar.gz and return what could not be collected, one line each.

    ``included`` are further texts by name, such as ``docker compose logs``.
    """
    with patience.given_up():
        texts, problems = _collect(parts)
    texts |= {f"log/{path.name}": _tail(path) for path in _logs()}
    texts |= {f"included/{name}": cut(content, INCLUDED_MAX_BYTES) for name, content in included.items()}
    problems = [redactor.clean(line) for line in problems]
    lines = "\n".join(["", "Not collected:", *problems]) if problems else "\nEverything was collected."
    texts = {"README.txt": ABOUT.format(when=datetime.now(UTC).strftime("%Y-%m-%d %H:%M"), problems=lines)} | texts
    with tarfile.open(fileobj=output, mode="w:gz") as archive:
        for name, text in texts.items():
            _add(archive, f"pasokh-support/{redactor.clean(name)}", redactor.clean(text))
    return problems


def _collect(parts: Mapping[str, Callable[[], str]]) -> tuple[dict[str, str], list[str]]:
    texts, problems = {}, []
    for name, part in parts.items():
        outcome = _run(part)
        if isinstance(outcome, Exception):
            reason = (str(outcome).strip() or type(outcome).__name__).splitlines()[0]
            texts[name] = f"not available: {type(outcome).__name__}: {reason}\n"
            problems.append(f"{name}: {type(outcome).__name__}: {reason}")
        else:
            texts[name] = outcome + "\n"
    return texts, problems


def _run(part: Callable[[], str]) -> str | Exception:
    """Return what the part says, or why it says nothing; a server that hangs must not stop the others."""
    outcome: list[str | Exception] = []

    def run() -> None:
        try:
            outcome.append(part())
        except Exception as exc:  # each part may fail in its own way
            outcome.append(exc)
        finally:
            connections.close_all()

    thread = threading.Thread(target=run, name="support-bundle", daemon=True)
    thread.start()
    thread.join(PART_SECONDS)
    return outcome[0] if outcome else TimeoutError(f"no answer in {PART_SECONDS:.0f} s")


def _logs() -> list[Path]:
    found = [path for path in (settings.VAR_DIR / "log").glob("*") if path.is_file()]
    return sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)[:LOGS_MAX_COUNT]


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - LOG_MAX_BYTES - 1))
            return cut(log.read(), LOG_MAX_BYTES)
    except OSError as exc:
        return f"not available: {exc.strerror}\n"


def cut(content: bytes, max_bytes: int) -> str:
    """Return the end of a text in whole lines: half a secret at the start would not be known as one."""
    if len(content) <= max_bytes:
        return content.decode(errors="replace")
    _half, _newline, rest = content[-max_bytes:].partition(b"\n")
    return CUT + rest.decode(errors="replace")


def _add(archive: tarfile.TarFile, name: str, text: str) -> None:
    content = text.encode(errors="replace")
    entry = tarfile.TarInfo(name)
    entry.size, entry.mtime, entry.mode = len(content), int(time.time()), 0o600
    archive.addfile(entry, io.BytesIO(content))
