"""Background processes yield the processor, and are not left without it."""

import os
import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest
from django.conf import settings

from core import priority
from core.priority import Usage, Watch, is_starving

SECOND = 10**9
CHILD = """
import os, threading
from core import priority
threading.Thread(target=threading.Event().wait, daemon=True).start()
print(priority.begin(), os.sched_getscheduler(0) == os.SCHED_IDLE)
"""

needs_permission = pytest.mark.skipif(not priority.may_return(), reason="may not leave SCHED_IDLE here")


@pytest.mark.parametrize(
    ("ran", "waited", "starves"),
    [
        (1.0, 1.0, False),  # two share a core
        (0.4, 1.6, False),  # five do
        (0.01, 1.9, True),  # others keep every core busy
        (0.0, 0.2, False),  # it mostly slept
        (0.0, 0.0, False),
    ],
)
def test_a_thread_starves_that_was_ready_most_of_the_time_and_hardly_ran(ran, waited, starves):
    after = Usage(int((5 + ran) * SECOND), int((7 + waited) * SECOND))

    assert is_starving(Usage(5 * SECOND, 7 * SECOND), after, seconds=2.0) == starves


@contextmanager
def waiting_thread():
    """A thread that only waits; yields its id."""
    done, ids = threading.Event(), []
    started = threading.Event()

    def wait():
        ids.append(threading.get_native_id())
        started.set()
        done.wait()

    thread = threading.Thread(target=wait)
    thread.start()
    started.wait()
    yield ids[0]
    done.set()
    thread.join()


@needs_permission
def test_a_thread_that_starves_gets_a_turn_and_yields_again_after_it(monkeypatch):
    with waiting_thread() as thread_id:
        watch = Watch(thread_id)
        assert os.sched_getscheduler(thread_id) == os.SCHED_IDLE

        monkeypatch.setattr(priority, "is_starving", lambda *_args, **_kwargs: True)
        watch.look()
        assert os.sched_getscheduler(thread_id) == os.SCHED_OTHER

        monkeypatch.setattr(priority, "is_starving", lambda *_args, **_kwargs: False)
        watch.look()
        assert os.sched_getscheduler(thread_id) == os.SCHED_OTHER, "the turn is not over"
        watch.turn_ends_at = 0.0
        watch.look()
        assert os.sched_getscheduler(thread_id) == os.SCHED_IDLE


@needs_permission
def test_other_threads_of_the_process_such_as_that_of_the_leases_do_not_yield():
    with waiting_thread() as worker, waiting_thread() as keeper:
        os.sched_setscheduler(keeper, os.SCHED_IDLE, os.sched_param(0))

        Watch(worker).look()

        assert os.sched_getscheduler(keeper) == os.SCHED_OTHER
        assert os.sched_getscheduler(worker) == os.SCHED_IDLE


@needs_permission
@pytest.mark.parametrize(("nice", "yields"), [(19, "True True"), (0, "False False")])
def test_only_a_process_that_was_started_as_background_yields(nice, yields):
    done = subprocess.run(
        ["nice", "-n", str(nice), sys.executable, "-c", CHILD],
        cwd=settings.BASE_DIR, capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip

    assert done.stdout.strip() == yields


def test_without_the_permission_to_come_back_nothing_changes(monkeypatch):
    def refuse(_thread_id, policy, _parameters):
        if policy == os.SCHED_OTHER:
            raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    monkeypatch.setattr(os, "getpriority", lambda *_args: 19)

    assert priority.begin() is False
