"""What each worker says of itself every few seconds, so that nobody has to ask it.

Asking by broadcast takes as long as the slowest worker (a second and more); reading this takes a millisecond. The
report is written from the worker's own event loop, as its health file is: a loop that hangs falls silent.
"""

import json
import os
import time
from dataclasses import dataclass
from typing import Any

import structlog
from celery import bootsteps
from celery.worker import state as worker_state
from redis import RedisError

from core.redis import client
from tasks_api.ledger import ThisWorker

log = structlog.get_logger(__name__)

PREFORK = "prefork"
KEY = "workers"  # a hash: worker name -> report
EVERY_SECONDS = 5.0
SILENT_AFTER_SECONDS = 20.0
FORGOTTEN_AFTER_SECONDS = 600.0


@dataclass(frozen=True)
class Worker:
    """A worker as it last reported; ``pool`` is ``prefork``, ``threads`` or ``asyncio``."""

    name: str
    boot: str
    pid: int
    pool: str
    queues: list[str]
    concurrency: int
    active: int
    processed: int
    started_at: float
    reported_at: float

    @property
    def heartbeat_age_seconds(self) -> float:
        return max(0.0, round(time.time() - self.reported_at, 1))

    @property
    def is_alive(self) -> bool:
        return self.heartbeat_age_seconds < SILENT_AFTER_SECONDS


class Heartbeat(bootsteps.StartStopStep):
    """Reports from the consumer's event loop, and takes its report back when the worker stops."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, consumer: Any) -> None:
        report(consumer)
        self.timer = consumer.timer.call_repeatedly(EVERY_SECONDS, report, (consumer,))

    def stop(self, consumer: Any) -> None:
        if timer := getattr(self, "timer", None):
            timer.cancel()
        try:
            client().hdel(KEY, consumer.hostname)
        except RedisError as exc:
            log.warning("heartbeat not taken back", error=str(exc))


def report(consumer: Any) -> None:
    """Write this worker's report; without Redis the next one may succeed."""
    pool = consumer.pool
    body = {
        "boot": str(ThisWorker.boot),
        "pid": os.getpid(),
        "pool": type(pool).__module__.rpartition(".")[2].removesuffix("_pool").replace("thread", "threads"),
        "queues": sorted(queue.name for queue in consumer.task_consumer.queues),
        "concurrency": pool.num_processes,
        "active": len(worker_state.active_requests),
        "processed": sum(worker_state.total_count.values()),
        "started_at": consumer.controller.startup_time.timestamp(),
        "reported_at": time.time(),
    }
    try:
        client().hset(KEY, consumer.hostname, json.dumps(body))
    except RedisError as exc:
        log.warning("heartbeat not written", error=str(exc))


def workers() -> list[Worker]:
    """Return the workers that reported within `FORGOTTEN_AFTER_SECONDS`, by name; older reports are deleted."""
    found = [Worker(name=str(name), **json.loads(text)) for name, text in client().hgetall(KEY).items()]
    gone = [worker.name for worker in found if worker.heartbeat_age_seconds > FORGOTTEN_AFTER_SECONDS]
    if gone:
        client().hdel(KEY, *gone)
    return sorted((worker for worker in found if worker.name not in gone), key=lambda worker: worker.name)
