"""Background processes leave the processor to chats at once, where the system lets them come back (docs/queues.md).

Linux takes the processor from a thread under SCHED_IDLE in the moment anything else wakes, but gives it next to nothing
while others keep every core busy: leases would end and time limits strike. So a second thread looks whether the first
starves, and lets it work at its ordinary priority for a while. Coming back needs CAP_SYS_NICE or RLIMIT_NICE; without
it, or on another system, nothing is changed and the nice level that the process was started with remains.
"""

import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from celery import signals

log = structlog.get_logger(__name__)

NICE_MIN = 10  # who was started with less is not meant
LOOK_EVERY_SECONDS = 2.0
TURN_SECONDS = 10.0  # at ordinary priority, once it has starved
WANTED_SHARE = 0.5  # of the time, in which a thread that starves was ready to run …
GRANTED_SHARE = 0.1  # … and of that the most that it got


@dataclass(frozen=True)
class Usage:
    """What a thread has got from the scheduler so far, in nanoseconds."""

    ran: int
    waited: int


def usage_of(thread_id: int) -> Usage:
    """Return how long the thread has run and been ready without running.

    Source: the kernel's Documentation/scheduler/sched-stats.rst, /proc/PID/schedstat.
    """
    ran, waited, _turns = Path(f"/proc/self/task/{thread_id}/schedstat").read_text().split()
    return Usage(int(ran), int(waited))


def is_starving(before: Usage, after: Usage, *, seconds: float) -> bool:
    """Tell whether the thread wanted to run for a good part of these seconds and got hardly any of it."""
    ran, waited = after.ran - before.ran, after.waited - before.waited
    return ran + waited > WANTED_SHARE * seconds * 1e9 and ran < GRANTED_SHARE * (ran + waited)


class Watch:
    """Keeps one thread under SCHED_IDLE, with turns at ordinary priority when it starves, and all others out of it."""

    def __init__(self, thread_id: int) -> None:
        self.thread_id = thread_id
        self.seen, self.seen_at = usage_of(thread_id), time.monotonic()
        self.turn_ends_at = 0.0
        _set(thread_id, os.SCHED_IDLE)

    def look(self) -> None:
        """Give the thread a turn if it has starved since the last look, or end its turn."""
        seen, now = usage_of(self.thread_id), time.monotonic()
        if is_starving(self.seen, seen, seconds=now - self.seen_at):
            log.info("background work starves, taking a turn", seconds=TURN_SECONDS)
            self.turn_ends_at = now + TURN_SECONDS
        self.seen, self.seen_at = seen, now
        _set(self.thread_id, os.SCHED_OTHER if now < self.turn_ends_at else os.SCHED_IDLE)
        for name in os.listdir("/proc/self/task"):  # threads inherit it, such as the one that renews leases
            if int(name) != self.thread_id and os.sched_getscheduler(int(name)) == os.SCHED_IDLE:
                _set(int(name), os.SCHED_OTHER)

    def run(self) -> None:
        while True:
            time.sleep(LOOK_EVERY_SECONDS)
            try:
                self.look()
            except OSError:
                continue  # a thread that ended while it was looked at


def may_return() -> bool:
    """Tell whether a thread of this process may leave SCHED_IDLE again; tried by one that then ends."""
    may = threading.Event()

    def attempt() -> None:
        try:
            _set(0, os.SCHED_IDLE)
            _set(0, os.SCHED_OTHER)
            usage_of(threading.get_native_id())
        except (OSError, ValueError):
            return
        may.set()

    if hasattr(os, "sched_setscheduler"):
        thread = threading.Thread(target=attempt)
        thread.start()
        thread.join()
    return may.is_set()


@signals.worker_process_init.connect
def begin(**_kwargs: Any) -> bool:
    """Have this process yield at once, if it was started as background; called in each child of a prefork worker."""
    if os.getpriority(os.PRIO_PROCESS, 0) < NICE_MIN or not may_return():
        return False
    watch = Watch(threading.get_native_id())
    threading.Thread(target=watch.run, name="priority-watch", daemon=True).start()
    return True


def _set(thread_id: int, policy: int) -> None:
    os.sched_setscheduler(thread_id, policy, os.sched_param(0))
