from threading import Event

import pytest
from django.db import connection

from knowledge import beside, text_search
from knowledge.search import search
from tests.knowledge.test_text_search import COUNT, make_tenant


def session() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return cursor.fetchone()[0]


def test_it_is_done_on_another_session_that_is_given_back(transactional_db):
    mine = session()

    others = {beside.start(session)() for _turn in range(5)}

    assert len(others) == 1
    assert mine not in others


def test_in_a_transaction_it_is_done_in_the_transaction(db):
    assert beside.start(session)() == session()


def test_where_sessions_are_few_it_is_done_on_ones_own(transactional_db, settings):
    settings.DATABASE_MAX_SESSIONS = 2 * beside.THREADS

    assert beside.start(session)() == session()


def test_with_every_thread_at_work_it_is_done_on_ones_own_and_afterwards_not(transactional_db):
    go = Event()
    working = [beside.start(lambda: go.wait(30)) for _thread in range(beside.THREADS)]

    assert beside.start(session)() == session()

    go.set()
    assert all(wait() for wait in working)
    assert beside.start(session)() != session()


def test_an_error_reaches_whoever_asks_and_frees_the_thread(transactional_db):
    mine = session()

    def fail() -> None:
        raise LookupError("gone")

    for _turn in range(beside.THREADS + 1):
        with pytest.raises(LookupError, match="gone"):
            beside.start(fail)()

    assert beside.start(session)() != mine


def test_a_large_tenants_words_are_looked_for_beside_its_vectors_with_the_same_result(
    transactional_db, embedder, monkeypatch
):
    monkeypatch.setattr(text_search, "EXACT_MAX_CHUNKS", 100)
    tenant = make_tenant("large", [f"printer number{number}" for number in range(COUNT)])
    find, sessions = text_search.find, []
    monkeypatch.setattr(text_search, "find", lambda **asked: (sessions.append(session()), find(**asked))[1])

    first, again = (search(tenant=tenant, query="printer number7") for _turn in range(2))

    assert first[0].content == "printer number7"
    assert again == first
    assert sessions[0] == session() != sessions[1]
