"""Statements that a session keeps prepared: for the few that run for every question.

Reading and planning a statement anew costs Postgres as much as carrying it out: 0.45 of 1.3 ms for the search by words.
So each is read and planned once, whatever values it gets: left to itself Postgres plans half of them each time anew, at
0.5 ms of a question for no better plan. Written in SQL, as psycopg2 knows of no preparing. A pooler hands sessions on,
so behind one they run as they are. After a migration that changes the type of a column, a statement that reads it fails
once in each session that is open: a session in which something failed is not kept.
"""

import re
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import count
from typing import Any

from django.db import connection
from django.db.backends.utils import CursorWrapper

# To stand before a statement that reads one tenant's rows: planned once, it is planned for a tenant of average size, so
# where few tenants share a table Postgres would read it whole for the smallest one.
BY_INDEX = "SET LOCAL enable_seqscan = off;"

Parameters = Mapping[str, Any] | Sequence[Any]

_PLACE = re.compile(r"%%|%s|%\(\w+\)s")
_VERB = re.compile(r"\b(INSERT|UPDATE|DELETE|SELECT)\b")
_TABLE = re.compile(r'\b(?:FROM|INTO|UPDATE)\s+"?([a-z]\w+)"?')
_OF_WHOM = "SELECT pg_backend_pid()"  # behind a pooler not the process that the session was opened with
_PLAN_ONCE = "SET plan_cache_mode = force_generic_plan"  # if its transaction fails, it plans as Postgres would
_numbers = count()


@dataclass(frozen=True)
class _Statement:
    """One statement: how to prepare it, and how to have it carried out with the parameters that it was written for."""

    name: str
    preparing: str
    executing: str


class _Session:
    """What one session has prepared, or that it cannot: then it is a pooler's."""

    def __init__(self, session: Any) -> None:
        with session.cursor() as cursor:
            cursor.execute(_OF_WHOM)
            self.may_prepare = cursor.fetchone()[0] == session.info.backend_pid
            if self.may_prepare:
                cursor.execute(_PLAN_ONCE)
        self.names: set[str] = set()


_sessions: "weakref.WeakKeyDictionary[Any, _Session]" = weakref.WeakKeyDictionary()


def execute(cursor: CursorWrapper, sql: str, parameters: Parameters | None = None) -> None:
    """Carry out the statement, or several divided by ``;``, as ``cursor.execute`` does, in one round trip.

    Its text must be a constant: each is kept for good. A parameter stands for one value, never for a list in brackets
    (``= ANY(%s)`` takes one); where no column tells its type, as after SELECT, it has to be cast; and a value that
    picks a partial index has to be written out.
    """
    connection.ensure_connection()
    with connection.wrap_database_errors:
        session = connection.connection
        known = _sessions.get(session) or _sessions.setdefault(session, _Session(session))
        if not known.may_prepare:
            cursor.execute(sql if parameters else sql.replace("%%", "%"), parameters)
            return
        statements = _read(sql)
        for statement in statements:
            if statement.name and statement.name not in known.names:
                with session.cursor() as raw:
                    raw.execute(statement.preparing)
                known.names.add(statement.name)
    cursor.execute(";".join(statement.executing for statement in statements), parameters)


@cache
def _read(sql: str) -> tuple[_Statement, ...]:
    return tuple(_statement(part.strip()) for part in sql.split(";") if part.strip())


def _statement(sql: str) -> _Statement:
    verb, table = _VERB.search(sql), _TABLE.search(sql)
    if verb is None or table is None:  # a setting, which cannot be prepared
        return _Statement("", "", sql)
    name = f"{verb[1].lower()}_{table[1]}_{next(_numbers)}"  # what Postgres' log and pg_stat_activity show
    places: list[str] = []

    def numbered(place: re.Match[str]) -> str:
        written = place[0]
        if written == "%%":
            return "%"
        if written == "%s" or written not in places:
            places.append(written)
        return f"${len(places) if written == '%s' else places.index(written) + 1}"

    text = _PLACE.sub(numbered, sql)
    values = f"({', '.join(places)})" if places else ""
    return _Statement(name, f"PREPARE {name} AS {text}", f"EXECUTE {name}{values}")
