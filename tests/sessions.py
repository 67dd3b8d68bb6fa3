"""Work in threads, each with a session of its own to Postgres that is closed afterwards."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from typing import ParamSpec, TypeVar

from django.db import connection

P = ParamSpec("P")
T = TypeVar("T")


def in_own_session(work: Callable[P, T]) -> Callable[P, T]:
    """Return the work as a thread may do it."""

    @wraps(work)
    def done(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return work(*args, **kwargs)
        finally:
            connection.close()

    return done


def somebody_waits_for_a_lock() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")
        return bool(cursor.fetchone()[0])


def at_once(count: int, work: Callable[[int], T]) -> list[T]:
    """Do the work in so many threads that begin together, each with its number; return what each returned.

    What any of them raised is raised.
    """
    start = threading.Barrier(count)

    @in_own_session
    def begin(number: int) -> T:
        start.wait(20)
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(begin, range(count)))
