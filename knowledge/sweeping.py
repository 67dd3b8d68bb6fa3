"""The sweeper's part: lost and waiting vector work, seen in Postgres alone."""

from knowledge import sync_queue
from knowledge.tasks import send_due

LIMIT = 200  # rows a second


def sweep() -> int:
    """Free what was lost and send what has room; return the number of rows touched."""
    return sync_queue.repair(limit=LIMIT) + send_due(limit=LIMIT)
