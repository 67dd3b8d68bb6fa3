"""A database that is restarted while it is used: waited for, and asked again."""

import psycopg2
import pytest
from django.db import OperationalError, connection, transaction

from core.database import outlast
from core.postgres.restarts import Patience

pytestmark = pytest.mark.django_db(transaction=True)


class Server:
    """Fails with each of the messages in turn, then gives sessions."""

    def __init__(self, *messages):
        self.messages = list(messages)

    def open(self):
        if self.messages:
            raise psycopg2.OperationalError(self.messages.pop(0))
        return "session"


@pytest.mark.parametrize(
    "message",
    [
        'connection to server at "db", port 5432 failed: Connection refused',
        'could not translate host name "db" to address: Name or service not known',
        "connection to server failed: FATAL:  the database system is starting up",
        "connection to server failed: FATAL:  the database system is shutting down",
        "server closed the connection unexpectedly",
    ],
)
def test_a_server_that_comes_back_in_time_is_waited_for(message):
    assert Patience().open(Server(message, message).open, 10) == "session"


@pytest.mark.parametrize(
    "message", ['FATAL:  password authentication failed for user "x"', 'FATAL:  database "x" does not exist']
)
def test_a_server_that_refuses_is_not_asked_again(message):
    server = Server(message, message)
    with pytest.raises(psycopg2.OperationalError):
        Patience().open(server.open, 10)

    assert len(server.messages) == 1


def test_who_comes_after_the_wait_was_in_vain_does_not_wait_again():
    server, patience = Server(*["Connection refused"] * 9), Patience()
    with pytest.raises(psycopg2.OperationalError):
        patience.open(server.open, 0)
    left = len(server.messages)
    with pytest.raises(psycopg2.OperationalError):
        patience.open(server.open, 0)

    assert len(server.messages) == left - 1
    assert patience.open(Server().open, 10) == "session"


def test_a_report_does_not_wait_for_a_server_and_who_comes_after_it_does():
    server, patience = Server(*["Connection refused"] * 3), Patience()
    with patience.given_up(), pytest.raises(psycopg2.OperationalError):
        patience.open(server.open, 10)

    assert len(server.messages) == 2
    assert patience.open(server.open, 10) == "session"


def end_own_session():
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")


def work_that_loses_its_session_once():
    """Return the work, and a list that tells how often it was begun."""
    begun = []

    def work():
        begun.append(1)
        if len(begun) == 1:
            end_own_session()
        return len(begun)

    return work, begun


def test_work_whose_session_the_server_ended_is_done_again():
    work, _begun = work_that_loses_its_session_once()

    assert outlast(work) == 2


def test_inside_a_transaction_nothing_is_done_again():
    work, begun = work_that_loses_its_session_once()
    with pytest.raises(OperationalError), transaction.atomic():
        outlast(work)

    assert begun == [1]


def test_any_other_error_of_the_database_is_not_taken_for_a_restart():
    def fail():
        with connection.cursor() as cursor:
            cursor.execute("SET statement_timeout = 1; SELECT pg_sleep(1)")

    with pytest.raises(OperationalError):
        outlast(fail, again=lambda: pytest.fail("done again"))
