import gc
import weakref
from collections.abc import Callable
from functools import cache
from threading import BoundedSemaphore
from typing import Any

from django.conf import settings
from django.db.backends.postgresql import base

from core.postgres.errors import NoFreeSessionError


@cache
def _permits() -> BoundedSemaphore:
    return BoundedSemaphore(settings.DATABASE_MAX_SESSIONS)


def _acquired(permits: BoundedSemaphore, seconds: float) -> bool:
    """Wait for a permit; sessions of threads that died are cyclic garbage and come back when it is collected."""
    patience = min(seconds, 1.0)
    if permits.acquire(timeout=patience):
        return True
    gc.collect()
    return permits.acquire(timeout=seconds - patience)


class DatabaseWrapper(base.DatabaseWrapper):
    """Waits for a session when the process has its share, instead of taking the server's last ones from others.

    A burst of requests is a burst of threads, each with a session of its own; without a bound 1,000 of them exhaust
    the server and most fail. A permit ends with its session: when that is closed or, in a thread that died, collected.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._give_back: Callable[[], Any] = lambda: None

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """Open a session.

        Raises:
            NoFreeSessionError: if none became free in DATABASE_SESSION_WAIT_SECONDS.
        """
        permits = _permits()
        if not _acquired(permits, settings.DATABASE_SESSION_WAIT_SECONDS):
            raise NoFreeSessionError("Too many requests at once; all database sessions of this process are in use.")
        try:
            connection = super().get_new_connection(conn_params)
        except BaseException:
            permits.release()
            raise
        self._give_back = weakref.finalize(connection, permits.release)
        return connection

    def _close(self) -> None:
        try:
            super()._close()  # type: ignore[misc]  # Django defines it; its stubs do not
        finally:
            self._give_back()  # now, not when the object goes: the traceback of a refused request may still hold it
