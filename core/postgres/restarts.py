"""Waiting out a server that is restarted: whoever needs a session meanwhile gets it late, not never."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
from django.db import Error

RETRY_SECONDS = 0.1
_COMES_BACK = ("57P01", "57P02", "57P03")  # it shuts down, it crashed, it is starting up
_ANSWERED = ("FATAL:", "ERROR:")
_SAYS_LATER = ("starting up", "shutting down", "terminating", "recovery", "too many", "remaining connection slots")


class Patience:
    """Opens sessions, and tries again for a while where no server answers; one for each process.

    The while counts from the first failure: when it is over, everyone fails at once until the server is back.
    """

    def __init__(self) -> None:
        self._away_since: float | None = None

    def open(self, open_session: Callable[[], Any], wait_seconds: float) -> Any:
        """Return a new session.

        Raises:
            psycopg2.OperationalError: if the server refuses, or does not answer for ``wait_seconds``.
        """
        while True:
            try:
                session = open_session()
            except psycopg2.OperationalError as exc:
                if self._away_since is None:
                    self._away_since = time.monotonic()
                if not _may_come_back(exc) or time.monotonic() - self._away_since > wait_seconds:
                    raise
                time.sleep(RETRY_SECONDS)
            else:
                self._away_since = None
                return session

    @contextmanager
    def given_up(self) -> Iterator[None]:
        """Wait for no server within the block: it reports on what is there now."""
        away_since, self._away_since = self._away_since, -math.inf
        try:
            yield
        finally:
            self._away_since = away_since


def _may_come_back(exc: psycopg2.OperationalError) -> bool:
    """Tell whether nobody answered, or the server said that it is not ready; libpq gives a text and no code."""
    text = str(exc)
    return not any(word in text for word in _ANSWERED) or any(word in text for word in _SAYS_LATER)


def has_lost_session(exc: BaseException) -> bool:
    """Tell whether the error means that the server ended the session, whatever was asked of it."""
    cause = exc.__cause__
    if not isinstance(exc, Error) or not isinstance(cause, psycopg2.OperationalError | psycopg2.InterfaceError):
        return False
    return cause.pgcode is None or cause.pgcode in _COMES_BACK
