"""The three queues, and which task goes to which.

The promise of the product starts here: a chat answer is the only work on ``high_priority``, and no
process that reads background queues reads that one (docs/adr/0001-worker-processes.md).
"""

from typing import Any

from kombu import Queue

HIGH_PRIORITY = "high_priority"  # chat answers, nothing else
DEFAULT = "default"  # ordinary short work
LOW_PRIORITY = "low_priority"  # crawling, embedding, cleaning up

NAMES = (HIGH_PRIORITY, DEFAULT, LOW_PRIORITY)
# Celery's priorities: each is a list of its own in the broker, and a worker takes from the first that is not empty.
LEVELS = (0, 3, 6, 9)
# The level in the list of the queue's own name, which people count with LLEN: of background work it is the backlog.
_LEVEL_IN_NAME = dict.fromkeys((DEFAULT, LOW_PRIORITY), LEVELS[-1])
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
    """Return the broker's list that holds the queue's messages of one level (`core.broker`)."""
    steps = LEVELS.index(level) - LEVELS.index(_LEVEL_IN_NAME.get(name, LEVELS[0]))
    suffix = LEVELS[steps % len(LEVELS)]
    return f"{name}{_SEPARATOR}{suffix}" if suffix else name


def lists_of(name: str) -> list[str]:
    return [list_of(name, level) for level in LEVELS]


def length(redis: Any, name: str) -> int:
    """Return how many messages wait in the queue, of all levels."""
    return sum(map(redis.llen, lists_of(name)))
