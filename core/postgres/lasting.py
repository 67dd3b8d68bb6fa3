"""A lock in Postgres that lasts as long as its process: whoever looks sees at once that the process is gone."""

import threading
import time
import weakref
from typing import Any

import psycopg2
import structlog
from django.db import connection

from core.postgres.sessions import is_usable

log = structlog.get_logger(__name__)

RETRY_SECONDS = 0.5
APPLICATION_NAME = "pasokh-presence"
# Only on a session of the server's own: a pooler would hand it on, lock and all, and may end it at any time. Nothing is
# ever asked on it again, so no limit on idle sessions may end it.
_TAKE = """
    SELECT set_config('idle_session_timeout', '0', false), pg_advisory_lock_shared(%s, %s)
    WHERE pg_backend_pid() = %s
"""
_HELD = """
    SELECT pg_backend_pid(), coalesce(array_agg(objid::bigint), '{}') FROM pg_locks
    WHERE locktype = 'advisory' AND objsubid = 2 AND classid = %s AND granted
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
_all: "weakref.WeakSet[LastingLock]" = weakref.WeakSet()


class LastingLock:
    """A lock on a session of its own. It is shared: the server may not know yet that the session before is over."""

    def __init__(self, kind: int, number: int) -> None:
        self._key = kind, number
        self._session: Any = None
        self._may_try_at = 0.0
        self._opening = threading.Lock()
        _all.add(self)

    def is_held(self) -> bool:
        """Tell whether the lock is held, taking it (again) where it is not; asks the server nothing if it is."""
        with self._opening:
            is_held = self._session is not None and not self._session.closed and is_usable(self._session)
            if not is_held and time.monotonic() >= self._may_try_at:
                before, self._session = self._session, self._open()
                if before is not None:  # only now: the server may merely have said something
                    before.close()
                is_held = self._session is not None
            return is_held

    def release(self) -> None:
        with self._opening:
            self._close()

    def _open(self) -> Any:
        """Return a new session that holds the lock, or None."""
        try:
            session = psycopg2.connect(**connection.get_connection_params() | {"application_name": APPLICATION_NAME})
            session.autocommit = True
            with session.cursor() as cursor:
                cursor.execute(_TAKE, [*self._key, session.info.backend_pid])
                is_taken = cursor.fetchone() is not None
        except psycopg2.Error as exc:
            self._may_try_at = time.monotonic() + RETRY_SECONDS
            log.warning("no session for a lasting lock", error=repr(exc), retry_seconds=RETRY_SECONDS)
            return None
        if is_taken:
            return session
        session.close()
        self._may_try_at = float("inf")  # a pooler stays one
        return None

    def _close(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None


def held(kind: int) -> tuple[int, set[int]]:
    """Return the numbers of the locks of this kind that are held, and the session that asked."""
    with connection.cursor() as cursor:
        cursor.execute(_HELD, [kind])
        session, numbers = cursor.fetchone()
    return session, set(numbers)


def release_all() -> None:
    for lock in list(_all):
        lock.release()
