"""Keeping the claims of this process alive: one thread renews them all with one UPDATE.

The same thread looks for stop requests, so a person's Stop reaches a worker without Redis.
"""

import logging
import os
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from django.conf import settings
from django.db import Error, connection
from django.utils import timezone

from chat.models import Message
from core.database import release_connection
from core.states import State

log = logging.getLogger(__name__)

LOOK_EVERY_SECONDS = 0.5


class Lease:
    """The right to answer one message. ``is_over`` says that going on is useless: stopped by the person, or lost."""

    def __init__(self, token: uuid.UUID) -> None:
        self.token = token
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
                self._thread = threading.Thread(target=self._run, name="chat-leases", daemon=True)
                self._thread.start()

    def remove(self, lease: Lease) -> None:
        with self._lock:
            self._leases.pop(lease.token, None)

    def _run(self) -> None:
        renewed_at = time.monotonic()
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
            due = time.monotonic() - renewed_at >= settings.CHAT_LEASE_RENEW_SECONDS
            try:
                look_for_stops(leases)
                if due:
                    renewed_at = time.monotonic()
                    renew(leases)
            except Error:
                log.warning("chat leases could not be looked after", exc_info=True)
                connection.close()

    def _current(self) -> dict[uuid.UUID, Lease]:
        with self._lock:
            return dict(self._leases)

    def _may_end(self) -> bool:
        with self._lock:
            if self._leases:
                return False
            self._thread = None
            return True


def look_for_stops(leases: dict[uuid.UUID, Lease]) -> None:
    stopped = Message.objects.filter(
        state=State.RUNNING, lease_token__in=list(leases), stop_requested_at__isnull=False
    ).values_list("lease_token", flat=True)
    for token in stopped:
        if token is not None:
            leases[token].is_stopped = True


def renew(leases: dict[uuid.UUID, Lease]) -> None:
    """Renew all with one UPDATE; those that some other worker took meanwhile are marked lost."""
    until = timezone.now() + timedelta(seconds=settings.CHAT_LEASE_SECONDS)
    mine = Message.objects.filter(state=State.RUNNING, lease_token__in=list(leases))
    if mine.update(lease_until=until) == len(leases):
        return
    kept = set(mine.values_list("lease_token", flat=True))
    for token, lease in leases.items():
        lease.is_lost = token not in kept


_keepers: dict[int, Keeper] = {}


@contextmanager
def kept(message: Message) -> Iterator[Lease]:
    """Keep the claimed message's lease alive for as long as the block runs."""
    assert message.lease_token is not None  # noqa: S101 -- a claimed message has one
    lease = Lease(message.lease_token)
    keeper = _keepers.setdefault(os.getpid(), Keeper())  # a forked child must not think it has its parent's thread
    keeper.add(lease)
    try:
        yield lease
    finally:
        keeper.remove(lease)
