"""Ask the database something while this thread is at something else, on another session of the process."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from threading import BoundedSemaphore
from typing import TypeVar

from django.conf import settings
from django.db import connection

THREADS = 2  # of a process: so many sessions more, at most, while they are at it

T = TypeVar("T")


def start(work: Callable[[], T]) -> Callable[[], T]:
    """Begin the work and return what waits for its result.

    It is done only when its result is asked for where no thread is free, in a transaction, whose rows another session
    would not see, and where so few sessions are allowed that those who wait for these threads might hold them all.
    """
    threads, free = _of_process(os.getpid())
    is_alone = connection.in_atomic_block or settings.DATABASE_MAX_SESSIONS <= 2 * THREADS
    if is_alone or not free.acquire(blocking=False):
        return work
    return threads.submit(_on_own_session, work, free).result


def _on_own_session(work: Callable[[], T], free: BoundedSemaphore) -> T:
    try:
        return work()
    finally:
        connection.close()  # gives the session back
        free.release()


@cache
def _of_process(_pid: int) -> tuple[ThreadPoolExecutor, BoundedSemaphore]:
    """Return a process's own threads: a forked child has none of its parent's."""
    return ThreadPoolExecutor(THREADS, thread_name_prefix="beside"), BoundedSemaphore(THREADS)
