"""Sessions of the database: given back while a person or a thread merely waits, replaced when the server ends one."""

from collections.abc import Callable
from typing import TypeVar

from django.db import Error, connection

from core.postgres.restarts import has_lost_session

T = TypeVar("T")


def release_connection() -> None:
    """Close this thread's session; the next query opens another. Inside a transaction it stays open."""
    if not connection.in_atomic_block:
        connection.close()


def outlast(work: Callable[[], T], *, again: Callable[[], T] | None = None) -> T:
    """Do the work; once more, or what is to be done instead, if the server ended the session under it.

    Whether what was being committed then is there is not known. Inside a transaction nothing is repeated.
    """
    try:
        return work()
    except Error as exc:
        if connection.in_atomic_block or not has_lost_session(exc):
            raise
        connection.close()
        return (again or work)()
