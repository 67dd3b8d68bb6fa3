"""The bound on a process's database sessions and their reuse, on the real server."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from django.db import DatabaseError, connection, connections, transaction

from core.postgres import base
from core.postgres.errors import NoFreeSessionError
from core.postgres.sessions import Sessions

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def two_sessions(settings, monkeypatch):
    """A process that may hold two sessions beside the test's own."""
    settings.DATABASE_SESSION_WAIT_SECONDS = 10
    connection.ensure_connection()
    sessions = Sessions(2)
    monkeypatch.setattr(base, "sessions", lambda: sessions)
    yield sessions
    sessions.close_idle()


def _backend() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return cursor.fetchone()[0]


def _backend_and_close(_number: int = 0) -> int:
    try:
        return _backend()
    finally:
        connections.close_all()


def _in_threads(function, count, threads=1):
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(function, range(count)))


def test_a_burst_of_threads_waits_for_its_turn_and_shares_two_sessions(two_sessions):
    assert len(set(_in_threads(_backend_and_close, 60, threads=20))) <= 2


def test_a_closed_session_is_kept_for_the_next(two_sessions):
    assert len(set(_in_threads(_backend_and_close, 3))) == 1


def test_an_idle_session_that_the_server_ended_is_not_used_again(two_sessions):
    [first] = _in_threads(_backend_and_close, 1)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 10000)", [first])

    [second] = _in_threads(_backend_and_close, 1)

    assert second != first


def test_a_session_is_not_kept_from_the_middle_of_a_transaction(two_sessions):
    def close_inside(_number):
        with suppress(DatabaseError), transaction.atomic():
            backend = _backend()
            connection.close()
        return backend

    [first], [second] = _in_threads(close_inside, 1), _in_threads(_backend_and_close, 1)
    assert first != second


def test_sessions_idle_for_too_long_are_closed(two_sessions, settings):
    settings.DATABASE_SESSION_IDLE_SECONDS = 1e-9

    assert len(set(_in_threads(_backend_and_close, 2))) == 2


def test_a_closed_session_is_given_back_although_something_still_holds_it(two_sessions):
    held = []

    def query_and_keep(_number):
        _backend()
        held.append(connection.connection)
        connection.close()

    _in_threads(query_and_keep, 4)


def test_a_thread_that_dies_without_closing_returns_its_session(two_sessions):
    answers = []
    for _ in range(3):
        thread = threading.Thread(target=lambda: answers.append(_backend()))
        thread.start()
        thread.join()

    assert len(answers) == 3


def test_a_caller_that_waits_too_long_gets_a_named_error(two_sessions, settings):
    settings.DATABASE_SESSION_WAIT_SECONDS = 0.05
    taken = threading.Barrier(3)
    over = threading.Event()

    def hold(_number):
        _backend()
        taken.wait(10)
        over.wait(10)
        connection.close()

    with ThreadPoolExecutor(3) as pool:
        holding = [pool.submit(hold, number) for number in range(2)]
        taken.wait(10)
        with pytest.raises(NoFreeSessionError):
            pool.submit(_backend).result()
        over.set()
        for done in holding:
            done.result()
