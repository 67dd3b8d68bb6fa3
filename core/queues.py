"""The three queues, and which task goes to which.

The promise of the product starts here: a chat answer is the only work on ``high_priority``, and no
process that reads background queues reads that one (docs/adr/0001-worker-processes.md).
"""

from kombu import Queue

HIGH_PRIORITY = "high_priority"  # chat answers, nothing else
DEFAULT = "default"  # ordinary short work
LOW_PRIORITY = "low_priority"  # crawling, embedding, cleaning up

NAMES = (HIGH_PRIORITY, DEFAULT, LOW_PRIORITY)
QUEUES = tuple(Queue(name) for name in NAMES)

ROUTES = {  # the first pattern that fits decides
    "chat.cleanup_*": {"queue": LOW_PRIORITY},
    "chat.*": {"queue": HIGH_PRIORITY},
    "crawl.*": {"queue": LOW_PRIORITY},
    "knowledge.*": {"queue": LOW_PRIORITY},
    "tasks_api.*": {"queue": LOW_PRIORITY},
    "tenants.*": {"queue": DEFAULT},
}
