"""The threads of a web process: synchronous code of all its requests runs in these, none waits in one.

Django gives each request a thread of its own, with a database session until its response is sent. A burst of 1,000
requests is then 1,000 threads that take sessions from each other and turns at the interpreter. Here each piece of
synchronous code (authentication, a service) gets a thread and a session for as long as it runs, and no longer.
"""

from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from asgiref.sync import ThreadSensitiveContext
from django.core import signals
from django.db import close_old_connections, reset_queries

from core.database import release_connection

Scope = dict[str, Any]
Application = Callable[[Scope, Any, Any], Awaitable[None]]


class RequestThreads(ThreadPoolExecutor):
    """Gives a thread's database session back after each piece of work."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        return super().submit(_run, fn, *args, **kwargs)


def leave_sessions_to_threads() -> None:
    """Keep Django from looking after sessions when a request begins and ends, in a thread each time."""
    for signal in (signals.request_started, signals.request_finished):
        signal.disconnect(close_old_connections)
    signals.request_started.disconnect(reset_queries)


class SharedThreads:
    """An ASGI application around another, whose requests share ``count`` threads."""

    def __init__(self, application: Application, count: int) -> None:
        self._application = application
        self._threads = RequestThreads(count, thread_name_prefix="request")

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        async with ThreadSensitiveContext(executor=self._threads):
            await self._application(scope, receive, send)


def _run(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    try:
        return fn(*args, **kwargs)
    finally:
        release_connection()
