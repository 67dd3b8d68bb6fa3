"""Telling a failure of the work, which closes its row, from one of the database under it, which does not."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from core.postgres.restarts import has_lost_session


@contextmanager
def closed_on_bug(close: Callable[[Exception], object]) -> Iterator[None]:
    """Call ``close`` with what fails in the block, which then surfaces unless that returns True.

    Where the database was restarted nothing is closed: the work is taken up again.
    """
    try:
        yield
    except Exception as exc:
        if has_lost_session(exc) or close(exc) is not True:
            raise
