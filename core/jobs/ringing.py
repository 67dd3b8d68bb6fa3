"""Ringing for rows: a message only says that a row may be looked at, so losing or repeating one harms nothing."""

import time
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any, TypeVar

from django.db.models.functions import Greatest, Least

_Row = TypeVar("_Row")

RINGING_SECONDS = 2.0  # of one sweep; publishing to a broker that hangs must not stop the other sweeps


def ring_each(rows: Iterable[_Row], ring: Callable[[_Row], bool]) -> int:
    """Ring for the rows in turn, until time is up or the broker is away; return how many were rung for."""
    deadline = time.monotonic() + RINGING_SECONDS
    rung = 0
    for row in rows:
        if time.monotonic() > deadline or not ring(row):
            break
        rung += 1
    return rung


def doubled_gap(waited: Any, *, first: timedelta, most: timedelta) -> Least:
    """Return the pause before the next ring: as long as the row has ``waited`` (an expression) up to the last ring.

    So the pauses double from ``first`` to ``most``, and an hour without workers leaves few messages for one row.
    """
    return Least(Greatest(waited, first), most)
