"""A worker pool for tasks that mostly wait: short work in a few threads, the waiting on one event loop.

Chosen by ``-P custom`` and ``CELERY_CUSTOM_WORKER_POOL``; ``-c`` is the number of tasks in flight. A task that ends
with `core.continuing.later` keeps its slot, its message and its place among the active tasks until its coroutine has
ended, so acknowledging late, ``inspect active``, the task ledger and warm shutdown stay true. Measured against
threads in docs/adr/0001-worker-processes.md.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from heapq import heappop, heappush
from itertools import count
from typing import Any

import uvloop
from celery import signals, states
from celery.app.trace import TraceInfo
from celery.concurrency.base import BasePool, apply_target
from django.conf import settings

from core import continuing
from core.continuing import Rest

Callback = Callable[[Any], Any]


class TaskPool(BasePool):
    """Celery's pool: `on_apply` takes a task, ``callback`` is told when all of it is over."""

    body_can_be_buffer = True
    signal_safe = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._in_flight = 0
        self._tasks: set[asyncio.Task[None]] = set()  # a loop itself holds its tasks only weakly
        self._changed = threading.Condition()
        self._waiting: list[tuple[int, int, Any]] = []  # what to run by its level, then in the order of coming
        self._number = count()
        self._patient = 0  # threads that work on what is less urgent

    def on_start(self) -> None:
        self._patient_max = max(settings.ANSWER_THREADS // 2, 1)
        self._executor = ThreadPoolExecutor(settings.ANSWER_THREADS, thread_name_prefix="work")
        self._loop = uvloop.new_event_loop()
        continuing.attach(self._loop, self._executor)
        self._thread = threading.Thread(target=self._loop.run_forever, name="event-loop", daemon=True)
        self._thread.start()

    def on_stop(self) -> None:
        """Wait until everything that was taken has ended; nothing new comes any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._in_flight == 0)
        self._executor.shutdown()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        super().on_stop()

    def on_apply(
        self,
        target: Callable[..., Any],
        args: Any = None,
        kwargs: Any = None,
        callback: Callback | None = None,
        accept_callback: Callable[[int, float], Any] | None = None,
        **_: Any,
    ) -> None:
        self._count(1)
        task = partial(apply_target, target, args, kwargs, accept_callback=accept_callback)
        with self._changed:
            run: Any = partial(self._run, task, callback)
            heappush(self._waiting, (_level(args), next(self._number), run))
        self._executor.submit(self._run_waiting)

    def _run_waiting(self) -> None:
        """Run the most urgent that waits; what is less urgent has half of the threads at most."""
        work = self._next()
        if work is None:
            return
        level, run = work
        try:
            run()
        finally:
            if level:
                with self._changed:
                    self._patient -= 1
                    has_more = bool(self._waiting)
                if has_more:  # perhaps one that had to leave a thread free
                    self._executor.submit(self._run_waiting)

    def _next(self) -> tuple[int, Callable[[], None]] | None:
        with self._changed:
            if not self._waiting or (self._waiting[0][0] and self._patient >= self._patient_max):
                return None
            level, _number, run = heappop(self._waiting)
            self._patient += level > 0
            return level, run

    def _run(self, task: Callable[..., None], callback: Callback | None) -> None:
        """Run the task's function; tell Celery now, or let the loop go on with what is left."""
        assert callback  # noqa: S101 -- the worker always gives one
        results: list[Any] = []
        rest = None
        try:
            rest = continuing.collect(partial(task, callback=results.append))
            if rest is None:
                callback(*results)
        finally:
            if rest is None:
                self._count(-1)
        if rest is not None:
            self._loop.call_soon_threadsafe(self._begin, rest, callback)

    def _begin(self, rest: Rest, callback: Callback) -> None:
        task = self._loop.create_task(self._go_on(rest, callback), context=rest.context)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _go_on(self, rest: Rest, callback: Callback) -> None:
        began_at = time.monotonic()
        value: Any = None
        failure: BaseException | None = None
        try:
            value = await rest.coroutine
        except Exception as exc:
            failure = exc
        try:
            await continuing.in_thread(partial(_end, rest, value, failure, began_at, callback))
        finally:
            self._count(-1)

    def _count(self, change: int) -> None:
        with self._changed:
            self._in_flight += change
            self._changed.notify_all()

    def _get_info(self) -> dict[str, Any]:
        info: dict[str, Any] = super()._get_info()  # type: ignore[misc]  # Celery defines it; its stubs do not
        return info | {"threads": settings.ANSWER_THREADS, "in-flight": self._in_flight}


def _level(args: Any) -> int:
    """Return the level (`core.queues.LEVELS`) of the message that a task came with."""
    request: dict[str, Any] = args[2] if args and len(args) > 2 and isinstance(args[2], dict) else {}  # noqa: PLR2004
    return int((request.get("delivery_info") or {}).get("priority") or 0)


def _end(rest: Rest, value: Any, failure: BaseException | None, began_at: float, callback: Callback) -> None:
    """Do what Celery's tracer does at the end of a task, then tell the worker of it."""
    task, request = rest.task, rest.request
    task.request_stack.push(request)
    info, state = None, str(states.SUCCESS)
    try:
        if failure is not None:
            state = states.FAILURE
            try:
                raise failure  # the tracer reads what is being handled
            except Exception as exc:
                info = TraceInfo(state, exc).handle_error_state(task, request)
        signals.task_postrun.send(
            sender=task, task_id=request.id, task=task, args=request.args, kwargs=request.kwargs,
            retval=value if failure is None else failure, state=state,
        )  # fmt: skip
    finally:
        task.request_stack.pop()
        runtime = time.monotonic() - began_at
        callback((1, info, runtime) if info else (0, repr(value), runtime))
