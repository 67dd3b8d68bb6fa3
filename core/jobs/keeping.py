"""Keeping the claims of this process alive: one thread renews all that are due, with one UPDATE for each model.

It dies with its process: a worker that is killed is followed by another as soon as the sweeper misses its lock
(`core.jobs.presence`), and else within `JOB_LEASE_SECONDS`, however long its work would have taken. The same thread
looks for stop requests, so a person's Stop reaches a worker without the broker, and keeps the lock.
"""

import os
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby

import structlog
from django.conf import settings
from django.db import Error, connection

from core.database import outlast, release_connection
from core.jobs.presence import of_this_process
from core.jobs.rows import Job, JobQuerySet
from core.postgres.restarts import has_lost_session

log = structlog.get_logger(__name__)

LOOK_EVERY_SECONDS = 0.5


class Lease:
    """The right to do one job. ``is_over`` says that going on is useless: stopped by a person, or lost."""

    def __init__(self, job: Job) -> None:
        assert job.lease_token is not None  # noqa: S101 -- a claimed job has one
        self.token = job.lease_token
        self.model = type(job)
        self.renewed_at = time.monotonic()
        self.is_stopped = False
        self.is_lost = False

    @property
    def is_over(self) -> bool:
        return self.is_stopped or self.is_lost


class Keeper:
    """Holds the leases of one process and keeps them alive from a thread that ends when there are none."""

    def __init__(self) -> None:
        self._leases: dict[uuid.UUID, Lease] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, lease: Lease) -> None:
        with self._lock:
            self._leases[lease.token] = lease
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="job-leases", daemon=True)
                self._thread.start()

    def remove(self, lease: Lease) -> None:
        with self._lock:
            self._leases.pop(lease.token, None)

    def _run(self) -> None:
        idle_rounds = 0
        while True:
            time.sleep(LOOK_EVERY_SECONDS)
            leases = self._current()
            idle_rounds = 0 if leases else idle_rounds + 1
            if not leases:
                release_connection()
                if idle_rounds > 1 and self._may_end():
                    return
                continue
            of_this_process().lock.is_held()
            for _name, of_model in groupby(sorted(leases, key=_model_name), key=_model_name):
                try:
                    look_after(list(of_model))
                except Error:
                    log.warning("leases could not be looked after", exc_info=True)
                    connection.close()

    def _current(self) -> list[Lease]:
        with self._lock:
            return list(self._leases.values())

    def _may_end(self) -> bool:
        with self._lock:
            if self._leases:
                return False
            self._thread = None
            return True


def look_after(leases: list[Lease]) -> None:
    """Note which leases of one model are stopped, and renew them all once one of them is due.

    Most jobs end before their first renewal and cost nothing here. The session is kept only where stops are looked for.
    """
    jobs: JobQuerySet[Job] = leases[0].model._default_manager.all()  # type: ignore[assignment]
    stopped = jobs.stopped([lease.token for lease in leases])
    for lease in leases:
        lease.is_stopped = lease.is_stopped or lease.token in set(stopped or ())
    now = time.monotonic()
    if any(now - lease.renewed_at >= settings.JOB_RENEW_SECONDS for lease in leases):
        held = jobs.renew(lease.token for lease in leases)
        for lease in leases:
            lease.renewed_at = now
            lease.is_lost = lease.token not in held
    if stopped is None:
        release_connection()


def _model_name(lease: Lease) -> str:
    return lease.model._meta.label


_keepers: dict[int, Keeper] = {}


@contextmanager
def kept(job: Job) -> Iterator[Lease]:
    """Keep the claimed job's lease alive for as long as the block runs.

    A block that a restarted database has cut off hands the job on: it is nobody's failure.
    """
    lease = Lease(job)
    keeper = _keepers.setdefault(os.getpid(), Keeper())  # a forked child must not think it has its parent's thread
    keeper.add(lease)
    try:
        yield lease
    except Exception as exc:
        if has_lost_session(exc):
            keeper.remove(lease)  # else it would be renewed
            outlast(job.hand_on)
        raise
    finally:
        keeper.remove(lease)
