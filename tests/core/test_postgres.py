"""The bound on a process's database sessions, on the real server."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection, connections

from core.postgres import base
from core.postgres.errors import NoFreeSessionError

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def two_sessions(settings, monkeypatch):
    """A process that may hold two sessions beside the test's own."""
    settings.DATABASE_SESSION_WAIT_SECONDS = 10
    permits = threading.BoundedSemaphore(2)
    monkeypatch.setattr(base, "_permits", lambda: permits)
    return permits


def _query(_number: int = 0) -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        return cursor.fetchone()[0]


def _query_and_close(_number: int) -> int:
    try:
        return _query()
    finally:
        connections.close_all()


def test_a_burst_of_threads_waits_for_its_turn(two_sessions):
    with ThreadPoolExecutor(20) as pool:
        assert list(pool.map(_query_and_close, range(60))) == [1] * 60


def test_a_closed_session_is_given_back_although_something_still_holds_it(two_sessions):
    held = []

    def query_and_keep(_number):
        _query()
        held.append(connection.connection)
        connection.close()

    with ThreadPoolExecutor(1) as pool:
        list(pool.map(query_and_keep, range(4)))
        assert two_sessions.acquire(blocking=False)
        assert two_sessions.acquire(blocking=False)
    two_sessions.release(2)


def test_a_thread_that_dies_without_closing_returns_its_session(two_sessions):
    answers = []
    for _ in range(3):
        thread = threading.Thread(target=lambda: answers.append(_query()))
        thread.start()
        thread.join()

    assert answers == [1, 1, 1]


def test_a_caller_that_waits_too_long_gets_a_named_error(two_sessions, settings):
    settings.DATABASE_SESSION_WAIT_SECONDS = 0.05
    two_sessions.acquire()
    two_sessions.acquire()

    with ThreadPoolExecutor(1) as pool, pytest.raises(NoFreeSessionError):
        pool.submit(_query).result()
    two_sessions.release(2)
