"""The sessions of one process: a bound on those in use, and those between two uses kept open.

Opening one costs Postgres a process and both sides 4,096 rounds of SHA-256: 10 ms of CPU, more than the queries of a
request. A kept session carries nothing on: the product sets and locks inside transactions only, as behind PgBouncer.
"""

import gc
import os
import select
import threading
import time
import weakref
from collections import defaultdict, deque
from collections.abc import Callable, Hashable
from queue import Empty, SimpleQueue
from typing import Any

from psycopg2.extensions import TRANSACTION_STATUS_IDLE

from core.postgres.errors import NoFreeSessionError

COLLECT_AFTER_SECONDS = 1.0
_GONE = select.POLLIN | select.POLLHUP | select.POLLERR  # of a session that nobody uses: the server has ended it


class Sessions:
    """Hands sessions out, at most ``limit`` at a time; takes them back, and closes those idle for too long."""

    def __init__(self, limit: int) -> None:
        # Permits come back while garbage is collected, so inside anything: of the queues, only this one bears that.
        self._permits: SimpleQueue[None] = SimpleQueue()
        for _ in range(limit):
            self._permits.put(None)
        self._idle: dict[Hashable, deque[tuple[float, Any]]] = defaultdict(deque)
        self._collecting = threading.Lock()

    def take(
        self, key: Hashable, open_session: Callable[[], Any], wait_seconds: float
    ) -> tuple[Any, Callable[[], Any]]:
        """Return a session of this key, kept or new, and what gives its permit back.

        Raises:
            NoFreeSessionError: if none became free in ``wait_seconds``.
        """
        if not self._acquired(wait_seconds):
            raise NoFreeSessionError("Too many requests at once; all database sessions of this process are in use.")
        try:
            session = self._kept(key) or open_session()
        except BaseException:
            self._permits.put(None)
            raise
        return session, weakref.finalize(session, self._permits.put, None)

    def keep(self, key: Hashable, session: Any, idle_seconds: float) -> bool:
        """Keep a session for the next one who takes it, or return False: one in the middle of something ends here."""
        if session.closed or session.get_transaction_status() != TRANSACTION_STATUS_IDLE:
            return False
        idle = self._idle[key]
        idle.append((time.monotonic(), session))
        _close_old(idle, time.monotonic() - idle_seconds)
        return True

    def close_idle(self) -> None:
        for idle in self._idle.values():
            while idle:
                idle.pop()[1].close()

    def _acquired(self, seconds: float) -> bool:
        """Wait for a permit; sessions of threads that died are cyclic garbage and come back when it is collected."""
        patience = min(seconds, COLLECT_AFTER_SECONDS)
        try:
            self._permits.get(timeout=patience)
        except Empty:
            self._collect()
            try:
                self._permits.get(timeout=seconds - patience)
            except Empty:
                return False
        return True

    def _collect(self) -> None:
        """Collect garbage, unless another thread is at it: 100 that wait would hold the interpreter for 10 s."""
        if self._collecting.acquire(blocking=False):
            try:
                gc.collect()
            finally:
                self._collecting.release()

    def _kept(self, key: Hashable) -> Any:
        idle = self._idle[key]
        while True:
            try:
                _since, session = idle.pop()  # the latest: the others grow old and are closed
            except IndexError:
                return None
            if is_usable(session):
                return session
            session.close()


def _close_old(idle: deque[tuple[float, Any]], before: float) -> None:
    while True:
        try:
            since, session = idle.popleft()
        except IndexError:
            return
        if since > before:
            idle.appendleft((since, session))
            return
        session.close()


def is_usable(session: Any) -> bool:
    """Tell whether the server has said nothing since, without asking it: all it could say now is goodbye."""
    poll = select.poll()
    poll.register(session.fileno(), _GONE)
    return not poll.poll(0)


_by_process: dict[int, Sessions] = {}


def of_this_process(limit: int) -> Sessions:
    """Return the sessions of this process; a forked child has none of its parent's."""
    pid = os.getpid()
    return _by_process.get(pid) or _by_process.setdefault(pid, Sessions(limit))


def _forget_parents() -> None:
    for pid in [pid for pid in _by_process if pid != os.getpid()]:
        del _by_process[pid]  # psycopg2 does not close what another process opened


os.register_at_fork(after_in_child=_forget_parents)
