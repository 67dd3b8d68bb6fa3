from collections.abc import Callable
from functools import partial
from typing import Any

from django.conf import settings
from django.db.backends.postgresql import base

from core.postgres import lasting
from core.postgres.restarts import Patience
from core.postgres.sessions import Sessions, of_this_process

patience = Patience()


def sessions() -> Sessions:
    return of_this_process(settings.DATABASE_MAX_SESSIONS)


class DatabaseWrapper(base.DatabaseWrapper):
    """Takes its session from the process's own and gives it back when Django closes it.

    Waits for one when the process has its share in use, instead of taking the server's last ones from others. A
    permit ends with its session: when that is closed or, in a thread that died, collected.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._give_permit_back: Callable[[], Any] = lambda: None
        self._session_key: tuple[Any, ...] = ()

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """Take a session; of a server that is being restarted, once it is back.

        Raises:
            NoFreeSessionError: if none became free in DATABASE_SESSION_WAIT_SECONDS.
        """
        self._session_key = tuple(conn_params.items())
        super_connect = super().get_new_connection
        session, self._give_permit_back = sessions().take(
            self._session_key,
            lambda: patience.open(partial(super_connect, conn_params), settings.DATABASE_RESTART_WAIT_SECONDS),
            settings.DATABASE_SESSION_WAIT_SECONDS,
        )
        return session

    def _close(self) -> None:
        try:
            is_doubtful = self.in_atomic_block or self.errors_occurred
            idle_seconds = settings.DATABASE_SESSION_IDLE_SECONDS
            if is_doubtful or not sessions().keep(self._session_key, self.connection, idle_seconds):
                super()._close()  # type: ignore[misc]  # Django defines it; its stubs do not
        finally:
            self._give_permit_back()  # now, not when the object goes: a refused request's traceback may still hold it

    def close_pool(self) -> None:
        """Close the sessions that nobody uses; Django calls this before it drops a database."""
        super().close_pool()
        sessions().close_idle()
        lasting.release_all()
