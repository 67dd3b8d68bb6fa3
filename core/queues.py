"""The three queues, and which task goes to which.

The promise of the product starts here: a chat answer is the only work on ``high_priority``, and no
process that reads background queues reads that one (docs/adr/0001-worker-processes.md).
"""

from kombu import Queue

HIGH_PRIORITY = "high_priority"  # chat answers, nothing else
DEFAULT = "default"  # ordinary short work
LOW_PRIORITY = "low_priority"  # crawling, embedding, cleaning up

NAMES = (HIGH_PRIORITY, DEFAULT, LOW_PRIORITY)
# Celery's priorities: each is a list of its own in the broker, and a worker takes from the first that is not empty.
LEVELS = (0, 3, 6, 9)
_SEPARATOR = "\x06\x16"  # kombu's

QUEUES = tuple(Queue(name) for name in NAMES)

ROUTES = {  # the first pattern that fits decides
    "chat.cleanup_*": {"queue": LOW_PRIORITY},
    "chat.*": {"queue": HIGH_PRIORITY},
    "crawl.*": {"queue": LOW_PRIORITY},
    "knowledge.*": {"queue": LOW_PRIORITY},
    "tasks_api.*": {"queue": LOW_PRIORITY},
    "tenants.*": {"queue": DEFAULT},
}


def list_of(name: str, level: int) -> str:
    """Return the broker's list that holds the queue's messages of one level."""
    return f"{name}{_SEPARATOR}{level}" if level else name


def lists_of(name: str) -> list[str]:
    return [list_of(name, level) for level in LEVELS]
