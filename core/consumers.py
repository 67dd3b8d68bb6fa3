"""Who reads which queue, by the files that start the workers: chat must have workers that read nothing else.

`deploy/*.conf` is where that is decided, for ``docker-compose.yml`` and ``script/up`` alike. A configuration that
breaks it is refused by ``script/up`` and by every worker at its start, and ``manage.py doctor`` reports it; the web
process only warns, because a question that waits is better than one refused.
"""

import configparser
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from core import processes, queues

FIX = f"Give chat a worker of its own, -Q {queues.HIGH_PRIORITY}, in deploy/celery_ai.conf, and start it."
_QUEUE_OPTIONS = ("-Q", "--queues")


@dataclass(frozen=True)
class Consumer:
    """A worker and the queues it reads."""

    name: str
    queues: frozenset[str]

    @property
    def is_for_chat_alone(self) -> bool:
        return self.queues == {queues.HIGH_PRIORITY}

    @property
    def mixes(self) -> bool:
        return queues.HIGH_PRIORITY in self.queues and not self.is_for_chat_alone


def configured(folder: Path) -> list[Consumer]:
    """Return the workers that the services' files start; a file that is missing starts none."""
    files = [folder / f"{service.name}.conf" for service in processes.SERVICES if service.processes]
    return [consumer for file in files for consumer in _consumers_of(file)]


def find_problem(consumers: Iterable[Consumer]) -> str:
    """Return one line that says what is wrong and what to do, empty if chat has workers of its own."""
    known = list(consumers)
    mixed = [consumer for consumer in known if consumer.mixes]
    if mixed:
        names = ", ".join(f"{consumer.name} ({','.join(sorted(consumer.queues))})" for consumer in mixed)
        return f"{names} lets chat wait behind other work. {FIX}"
    if not any(consumer.is_for_chat_alone for consumer in known):
        return f"no worker reads {queues.HIGH_PRIORITY} and nothing else. {FIX}"
    return ""


def find_configured_problem(folder: Path) -> str:
    """Return what is wrong with the files that start the workers, empty if nothing is."""
    try:
        return find_problem(configured(folder))
    except configparser.Error as exc:
        return f"the files of the workers cannot be read: {' '.join(str(exc).split())} Correct them in deploy/."


def _consumers_of(file: Path) -> list[Consumer]:
    parser = configparser.RawConfigParser(strict=False, inline_comment_prefixes=(" ;",))
    parser.read(file, encoding="utf-8")
    commands = {
        section.partition(":")[2]: shlex.split(parser.get(section, "command", fallback=""))
        for section in parser.sections()
        if section.startswith("program:") and parser.getboolean(section, "autostart", fallback=True)
    }
    return [
        Consumer(f"{file.name}:{name}", frozenset(_queues_of(command)))
        for name, command in commands.items()
        if "worker" in command
    ]


def _queues_of(command: Sequence[str]) -> Iterable[str]:
    """Return what follows -Q; a worker without it reads every queue."""
    for option, value in pairwise(command):
        if option in _QUEUE_OPTIONS:
            return value.split(",")
    joined = [word.partition("=")[2] for word in command if word.startswith("--queues=")]
    return joined[0].split(",") if joined else queues.NAMES
