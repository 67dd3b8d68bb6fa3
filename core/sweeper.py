"""The sweeper's loop: runs every function of ``settings.SWEEPERS`` again and again.

A sweeper trusts only Postgres, so it brings back work whose message was lost. It is its own small process: no queue
and no worker stands between a lost chat message and its rescue.
"""

import threading
from collections.abc import Callable, Iterable

import structlog
from django.conf import settings
from django.db import connection, connections
from django.utils.module_loading import import_string

from core.health import files

log = structlog.get_logger(__name__)

BACKOFF_MAX_SECONDS = 30.0
HEALTH_FILE = "sweeper"
APPLICATION_NAME = "pasokh-sweeper"

Sweep = Callable[[], int]


def load_sweeps(names: Iterable[str]) -> dict[str, Sweep]:
    """Return the functions named as ``module:function``."""
    return {name: import_string(name.replace(":", ".")) for name in names}


def run(sweeps: dict[str, Sweep], stopped: threading.Event) -> None:
    """Run the sweeps until ``stopped``; one that fails is logged and left alone for a growing while.

    The connection to Postgres is kept, under a name by which ``manage.py doctor`` finds it.
    """
    connection.settings_dict["OPTIONS"]["application_name"] = APPLICATION_NAME
    loop = Loop(sweeps)
    while not stopped.is_set():
        loop.run_once()
        stopped.wait(settings.SWEEPER_INTERVAL_SECONDS)
    connections.close_all()


class Loop:
    """The sweeps and how often each has failed in a row."""

    def __init__(self, sweeps: dict[str, Sweep]) -> None:
        self.sweeps = sweeps
        self.failures = dict.fromkeys(sweeps, 0)
        self.rounds_to_skip = dict.fromkeys(sweeps, 0)

    def run_once(self) -> None:
        """Run each sweep that is not resting, and show life."""
        files.touch(settings.HEALTH_DIR / HEALTH_FILE)
        for name, sweep in self.sweeps.items():
            if self.rounds_to_skip[name]:
                self.rounds_to_skip[name] -= 1
            else:
                self._run(name, sweep)

    def _run(self, name: str, sweep: Sweep) -> None:
        try:
            count = sweep()
        except Exception as exc:  # a sweep that cannot work today must not stop the others
            self.failures[name] += 1
            rest = min(2.0 ** self.failures[name], BACKOFF_MAX_SECONDS)
            self.rounds_to_skip[name] = round(rest / settings.SWEEPER_INTERVAL_SECONDS)
            log.error("sweep failed", sweep=name, failures=self.failures[name], retry_seconds=rest, error=repr(exc))
            connections.close_all()
        else:
            if self.failures[name]:
                log.info("sweep works again", sweep=name, failures=self.failures[name])
            self.failures[name] = 0
            if count:
                log.info("swept", sweep=name, rows=count)
