"""Celery beat that may run twice: only the copy that holds a lock in Postgres sends tasks."""

from typing import Any

import structlog
from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django_celery_beat.schedulers import DatabaseScheduler

from core.health import files

log = structlog.get_logger(__name__)

LOCK_ID = 0x7061736F6B68  # "pasokh": one beat per database
STANDBY_SECONDS = 1.0
HEALTH_FILE = "beat"


class Leadership:
    """A session lock in Postgres, on a connection of its own; it ends with that connection.

    A pooler in transaction mode would hand the session to others: the database must be reached directly.
    """

    def __init__(self) -> None:
        self._connection: BaseDatabaseWrapper | None = None

    def is_held(self) -> bool:
        """Tell whether this process leads now, taking the lock if it is free.

        Raises:
            DatabaseError, InterfaceError: if Postgres does not answer; leadership is gone then.
        """
        try:
            if self._connection is not None:
                self._query("SELECT 1")
                return True
            self._connection = connection.copy()
            if self._query("SELECT pg_try_advisory_lock(%s)", LOCK_ID):
                return True
            self.release()
        except (DatabaseError, InterfaceError):
            self.release()
            raise
        return False

    def release(self) -> None:
        if self._connection is not None:
            held, self._connection = self._connection, None
            if held.connection is not None:
                held.connection.close()  # the session itself: kept open for the next use it would keep the lock
            held.close()

    def _query(self, statement: str, *parameters: Any) -> Any:
        assert self._connection is not None  # noqa: S101 -- both callers have set it
        with self._connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return cursor.fetchone()[0]


class LockedDatabaseScheduler(DatabaseScheduler):
    """django-celery-beat's scheduler, sending only while this process is the leader."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._leadership = Leadership()
        self._leads = False
        super().__init__(*args, **kwargs)

    def setup_schedule(self) -> None:
        """Write nothing: rows come from ``manage.py seed_schedules``, and Postgres may still be away."""

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Send what is due if this process leads; return the seconds until the next call."""
        files.touch(settings.HEALTH_DIR / HEALTH_FILE)
        try:
            if not self._check_leadership():
                return STANDBY_SECONDS
            return min(super().tick(*args, **kwargs), self.max_interval)
        except (DatabaseError, InterfaceError) as exc:
            log.warning("beat cannot reach Postgres", error=repr(exc), retry_seconds=STANDBY_SECONDS)
            self._leads = False
            self._leadership.release()
            connection.close()
            return STANDBY_SECONDS

    def close(self) -> None:
        super().close()
        self._leadership.release()

    def _check_leadership(self) -> bool:
        led, self._leads = self._leads, self._leadership.is_held()
        if self._leads and not led:
            log.info("beat leads now")
            self._forget_schedule()
        elif led and not self._leads:
            log.warning("beat lost the lead")
        return self._leads

    def _forget_schedule(self) -> None:
        """Read the schedule anew: another beat may have sent tasks since this one looked."""
        self._dirty.clear()
        self._initial_read = True
        self._heap = None
