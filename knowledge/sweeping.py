"""The sweeper's part: lost and waiting vector work, seen in Postgres alone."""

from knowledge import full_sync, sync_queue
from knowledge.tasks import send_due, send_full_syncs, send_lost_deletions

LIMIT = 200  # rows a second


def sweep() -> int:
    """Free what was lost and send what has room; return the number of rows touched."""
    repaired = sync_queue.repair(limit=LIMIT) + full_sync.repair(limit=LIMIT)
    return repaired + send_due(limit=LIMIT) + send_full_syncs() + send_lost_deletions(limit=LIMIT)
