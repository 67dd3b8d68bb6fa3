"""Starting everything, in the order that makes the first answer possible soonest."""

import os
import time
from collections.abc import Callable
from typing import Any

from core.health.__main__ import find_problem
from core.processes import SERVICES
from core.up import checks, demo, environment, leftovers, screen, supervision
from core.up.environment import Environment
from core.up.errors import UpError
from core.up.places import Places
from core.up.running import StopRequestedError, StopSignals, end_manager, say
from core.up.supervision import APP_GROUP, DATA_GROUP, Manager

DATA_READY_SECONDS = 60
WEB_READY_SECONDS = 60
WORKERS_READY_SECONDS = 60
RETRY_SECONDS = 5  # how long a service may fail: what a crash left behind can take a moment to go away
POLL_SECONDS = 0.05


def up(places: Places, *, port: int | None, flower_port: int | None, is_detached: bool, demo: bool) -> int:
    """Start Pasokh and stay until it is stopped, or return once it answers if ``is_detached``."""
    places.make()
    manager = Manager(places)
    stop_signals = StopSignals()
    if (pid := manager.pid()) is not None:
        if manager.is_complete():
            say("already running; script/down stops it.")
            screen.show(places, environment.of_running(places))
            return 0
        end_manager(places, pid)  # an earlier start was cut short
    leftovers.end(places)
    wanted = environment.prepare(places, port=port, flower_port=flower_port)
    _check(places, wanted)
    try:
        process = _launch(places, wanted, manager)
        Start(places, wanted, manager, stop_signals).run(with_demo=demo)
        screen.show(places, wanted)
        if is_detached:
            return 0
        while process.poll() is None and not stop_signals.requested.wait(0.5):
            pass
    except StopRequestedError:
        pass
    except BaseException:
        _end(places, manager, stop_signals)
        raise
    return _end(places, manager, stop_signals)


def _check(places: Places, wanted: Environment) -> None:
    checks.check_disk(places)
    checks.check_consumers(places)
    checks.check_ports(wanted)
    if wanted.postgres is None:
        checks.check_external_database(wanted.database_url)
    if wanted.valkey is None:
        checks.check_external_redis(wanted.redis_url)


def _launch(places: Places, wanted: Environment, manager: Manager) -> Any:
    if wanted.postgres:
        wanted.postgres.ensure_initialised()
    if wanted.valkey:
        wanted.valkey.ensure_configured()
    data = {"postgres": wanted.postgres, "valkey": wanted.valkey}
    configuration = supervision.write_configuration(places, {k: v for k, v in data.items() if v})
    variables = supervision.service_variables(places, wanted)
    os.environ |= {**variables, "LOG_LEVEL": "ERROR"}  # Django in this very process sees what the services see
    return manager.launch(configuration, variables)


def _end(places: Places, manager: Manager, stop_signals: StopSignals) -> int:
    pid = manager.pid()
    was_asked = stop_signals.requested.is_set()
    if pid is None:
        leftovers.end(places)
    else:
        say("stopping … (Ctrl-C again: at once)")
        end_manager(places, pid, stop_signals.forced)
    say("stopped. Your data stays in var/." if was_asked else "stopped, because the start failed or its manager ended.")
    return 0 if was_asked else 1


class Start:
    """One start, step by step; each step gives up when a stop is asked for."""

    def __init__(self, places: Places, wanted: Environment, manager: Manager, stop_signals: StopSignals) -> None:
        self.places = places
        self.wanted = wanted
        self.manager = manager
        self.stop_signals = stop_signals
        self.began = time.monotonic()

    def run(self, *, with_demo: bool) -> None:
        self._start_data()
        site = demo.Site(self.places, self.wanted)
        if site.needs_migration():
            self.tell("preparing the database")
            site.migrate()
        self.tell("starting web and workers")
        first = ("web", "celery_ai", "celery_worker") if not site.is_known() else ("web", "celery_ai")
        self.manager.start(APP_GROUP, first)
        self.wait("web", APP_GROUP, lambda: not find_problem("web"), WEB_READY_SECONDS)
        if with_demo:
            site.make()
            self.wait("celery_ai", APP_GROUP, lambda: not find_problem("ai1"), WORKERS_READY_SECONDS)
            self.tell("crawling the handbook and asking first questions")
            site.wait_for_answers(self.stop_signals.check)
        self.manager.start(APP_GROUP, [service.name for service in SERVICES])
        self.tell("ready")

    def _start_data(self) -> None:
        if self.wanted.postgres:
            self.manager.start(DATA_GROUP, ["postgres"])
        if self.wanted.valkey:
            self.manager.start(DATA_GROUP, ["valkey"])
            self.wait("valkey", DATA_GROUP, self.wanted.valkey.is_ready, DATA_READY_SECONDS)
        if self.wanted.postgres:
            self.wait("postgres", DATA_GROUP, self.wanted.postgres.is_ready, DATA_READY_SECONDS)
            self.wanted.postgres.ensure_database()

    def wait(self, name: str, group: str, is_ready: Callable[[], bool], seconds: float) -> None:
        """Wait for a service.

        Raises:
            UpError: if it keeps ending, or is not ready in time.
        """
        deadline = time.monotonic() + seconds
        give_up_at = float("inf")
        while not is_ready():
            self.stop_signals.check()
            if failure := self.manager.failure(group, name):
                give_up_at = min(give_up_at, time.monotonic() + RETRY_SECONDS)
                if time.monotonic() >= give_up_at:
                    raise UpError(f"{name} does not start: {failure} (var/log/{name}.log)")
            if time.monotonic() > deadline:
                raise UpError(f"{name} is not ready after {seconds:.0f} s; see var/log/{name}.log")
            time.sleep(POLL_SECONDS)

    def tell(self, what: str) -> None:
        self.stop_signals.check()
        say(f"{time.monotonic() - self.began:5.1f} s  {what}")
