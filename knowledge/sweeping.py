"""The sweeper's part: lost and waiting vector work, seen in Postgres alone."""

from knowledge import tasks

LIMIT = 200  # rows a second


def sweep() -> int:
    """Free what was lost and send what has room; return the number of rows touched."""
    return tasks.sweep(limit=LIMIT)
