"""Instances out of statements written by hand, and into them: for the few that run for every question.

Django builds and compiles a query anew each time it runs, 0.5 to 1 ms of CPU; the statement itself takes 0.2.
"""

from collections.abc import Iterator
from functools import cache
from typing import Any, Generic, TypeVar

from django.db import DEFAULT_DB_ALIAS, connection, models

from core.postgres.prepared import execute

M = TypeVar("M", bound=models.Model)


class Columns(Generic[M]):
    """A model's columns under an alias. What Django converts after reading, such as JSON, is left out: deferred."""

    def __init__(self, model: type[M], alias: str) -> None:
        self._model = model
        fields = [field for field in model._meta.concrete_fields if not hasattr(field, "from_db_value")]
        self._names = [field.attname for field in fields]
        self._text = ", ".join(f'{alias}."{field.column}"' for field in fields)

    def __str__(self) -> str:
        return self._text

    def take(self, values: Iterator[Any]) -> M:
        """Return the instance that the next values of a row are."""
        return self._model.from_db(DEFAULT_DB_ALIAS, self._names, [next(values) for _name in self._names])


def insert(*rows: models.Model, unless_known: bool = False) -> bool:
    """Insert the rows, in this order and in one round trip; their keys must be known beforehand.

    False if ``unless_known`` and the last one broke a constraint: then it is not there.
    """
    statements, values = [], []
    for row in rows:
        statements.append(_insertion(type(row)))
        fields = row._meta.concrete_fields
        values += [field.get_db_prep_save(field.pre_save(row, add=True), connection) for field in fields]
    with connection.cursor() as cursor:
        execute(cursor, ";".join(statements) + (" ON CONFLICT DO NOTHING" if unless_known else ""), values)
        if not cursor.rowcount:
            return False
    for row in rows:
        row._state.adding, row._state.db = False, DEFAULT_DB_ALIAS
    return True


def update(model: type[models.Model], key: dict[str, Any], values: dict[str, Any]) -> int:
    """Write the values, no expressions, where the key holds; return into how many rows."""
    statement, fields = _updating(model, tuple(values), tuple(key))
    given = zip(fields, [*values.values(), *key.values()], strict=True)
    with connection.cursor() as cursor:
        execute(cursor, statement, [field.get_db_prep_save(value, connection) for field, value in given])
        return cursor.rowcount


@cache
def _insertion(model: type[models.Model]) -> str:
    columns = [f'"{field.column}"' for field in model._meta.concrete_fields]
    return f'INSERT INTO "{model._meta.db_table}" ({", ".join(columns)}) VALUES ({", ".join(["%s"] * len(columns))})'  # noqa: S608


@cache
def _updating(
    model: type[models.Model], values: tuple[str, ...], key: tuple[str, ...]
) -> tuple[str, "list[models.Field[Any, Any]]"]:
    by_name = {field.name: field for field in model._meta.concrete_fields}
    fields = [by_name[name] for name in [*values, *key]]
    parts = [f'"{field.column}" = %s' for field in fields]
    wanted, known = ", ".join(parts[: len(values)]), " AND ".join(parts[len(values) :])
    return f'UPDATE "{model._meta.db_table}" SET {wanted} WHERE {known}', fields  # noqa: S608
