"""What a Celery worker does for its own health.

A consumer timer touches the health file from inside the event loop, so a loop that hangs stops touching. A watch
thread ends a hung process, for the process manager to start it anew; a broker that is away is no reason to end.
"""

import os
import signal
import threading
from pathlib import Path
from typing import Any

import structlog
from celery import bootsteps
from django.conf import settings

from core import consumers, queues, redis
from core.health import files

log = structlog.get_logger(__name__)

STUCK_EXIT_CODE = 70
WATCH_EVERY_SECONDS = 5.0


def health_file(node_name: str) -> Path:
    """Return the file of the worker ``ai1@host``: named ``ai1``."""
    return settings.HEALTH_DIR / node_name.partition("@")[0]


class HealthFile(bootsteps.StartStopStep):
    """Touches the health file from the consumer's event loop."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, consumer: Any) -> None:
        path = health_file(consumer.hostname)
        files.touch(path)
        self.timer = consumer.timer.call_repeatedly(files.TOUCH_EVERY_SECONDS, files.touch, (path,))

    def stop(self, consumer: Any) -> None:
        if timer := getattr(self, "timer", None):
            timer.cancel()


class StuckWatch(bootsteps.StartStopStep):
    """Watches the health file from a thread and ends the process when the event loop hangs."""

    requires = ("celery.worker.components:Pool",)

    def start(self, worker: Any) -> None:
        self.stopped = threading.Event()
        path = health_file(worker.hostname)
        files.touch(path)
        threading.Thread(target=watch, args=(path, self.stopped), name="stuck-watch", daemon=True).start()

    def stop(self, worker: Any) -> None:
        self.stopped.set()

    def terminate(self, worker: Any) -> None:
        self.stopped.set()


def watch(path: Path, stopped: threading.Event) -> None:
    """End this process if ``path`` grows old while the broker answers, or if its process manager is gone."""
    parent = os.getppid()
    is_supervised = "SUPERVISOR_ENABLED" in os.environ
    while not stopped.wait(WATCH_EVERY_SECONDS):
        if is_supervised and os.getppid() != parent:
            log.warning("process manager is gone, stopping")
            os.kill(os.getpid(), signal.SIGTERM)
            return
        age = files.age_seconds(path)
        if age < 2 * files.TOUCH_EVERY_SECONDS:
            continue
        if not redis.is_reachable():
            files.touch(path)  # waiting for the broker is life, too
        elif age > settings.WORKER_STUCK_EXIT_SECONDS:
            log.critical("worker hangs, exiting to be started anew", idle_seconds=round(age))
            os._exit(STUCK_EXIT_CODE)


class QueueSeparation(bootsteps.Step):
    """Refuses to start a worker that would let chat wait behind other work.

    A worker that is busy with a crawl and also reads ``high_priority`` parks chats for as long as the crawl takes
    (docs/adr/0002-celery-settings.md). A background worker refuses as well where nothing starts one for
    chat alone.
    """

    def include_if(self, worker: Any) -> bool:
        consumed = set(worker.app.amqp.queues.consume_from)
        if queues.HIGH_PRIORITY in consumed and len(consumed) > 1:
            others = ",".join(sorted(consumed - {queues.HIGH_PRIORITY}))
            raise SystemExit(
                f"pasokh: refusing to start {worker.hostname}: one worker must not consume both "
                f"{queues.HIGH_PRIORITY} and {others}. Start two: -Q {queues.HIGH_PRIORITY} and -Q {others}."
            )
        if queues.HIGH_PRIORITY not in consumed and (problem := consumers.find_configured_problem(settings.DEPLOY_DIR)):
            raise SystemExit(f"pasokh: refusing to start {worker.hostname}: {problem}")
        return False
