"""Tasks that go on when their function has returned, as a coroutine on the one event loop of their worker.

A task does its short work in a thread and returns ``later(coroutine)``. In a worker whose pool is `core.asyncio_pool`
the thread is then free for others, and the task counts as running until the coroutine ends. Anywhere else, as in a
worker of threads or a direct call, ``later`` runs the coroutine to its end.
"""

import asyncio
import contextvars
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, TypeVar
from weakref import WeakKeyDictionary

from asgiref.sync import async_to_sync, sync_to_async
from celery import Task, current_task

from core.database import release_connection

T = TypeVar("T")


class GoesOn:
    def __repr__(self) -> str:
        return "goes on"


GOES_ON: Final = GoesOn()  # what a task has returned so far


@dataclass(frozen=True)
class Rest:
    """What is left of a task: ``request`` is Celery's, ``context`` holds what its log lines carry."""

    coroutine: Coroutine[Any, Any, Any]
    task: Task
    request: Any
    context: contextvars.Context


_thread = threading.local()
_executors: WeakKeyDictionary[asyncio.AbstractEventLoop, ThreadPoolExecutor] = WeakKeyDictionary()


def later(coroutine: Coroutine[Any, Any, T]) -> T | GoesOn:
    """Hand over what is left of the running task; return the marker that the task must return in turn."""
    if not getattr(_thread, "is_pooled", False):
        release_connection()  # it may take long
        return async_to_sync(_run)(coroutine)
    task = current_task._get_current_object()  # type: ignore[attr-defined]  # the proxy means others later on
    _thread.rest = Rest(coroutine, task, task.request_stack.top, contextvars.copy_context())
    return GOES_ON


async def _run(coroutine: Coroutine[Any, Any, T]) -> T:
    return await coroutine


async def in_thread(function: Callable[[], T]) -> T:
    """Run short blocking work, such as a few queries, beside the event loop."""
    loop = asyncio.get_running_loop()
    executor = _executors.get(loop)
    if executor is None:
        return await sync_to_async(function)()
    context = contextvars.copy_context()
    return await loop.run_in_executor(executor, lambda: context.run(_with_session, function))


def _with_session(function: Callable[[], T]) -> T:
    try:
        return function()
    finally:
        release_connection()


def attach(loop: asyncio.AbstractEventLoop, executor: ThreadPoolExecutor) -> None:
    """Let coroutines on the loop do their blocking work in the executor."""
    _executors[loop] = executor


def collect(function: Callable[[], None]) -> Rest | None:
    """Run a task's function in this thread and return what it handed over, if anything."""
    _thread.is_pooled, _thread.rest = True, None
    try:
        function()
        return _thread.rest
    finally:
        _thread.is_pooled, _thread.rest = False, None
