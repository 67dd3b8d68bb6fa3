"""Giving database sessions back while a person or a thread merely waits."""

import select

from asgiref.sync import SyncToAsync, sync_to_async
from django.db import connection, connections


def release_connection() -> None:
    """Close this thread's session; the next query opens another. Inside a transaction it stays open."""
    if not connection.in_atomic_block:
        connection.close()


def close_unsound() -> None:
    """Close this thread's session if a statement failed in it or the server has left; a sound one is kept.

    A session that the server has closed is readable: that costs one system call to see, a query to ask for.
    """
    if connection.connection is None:
        return
    waiting = select.poll()
    waiting.register(connection.connection, select.POLLIN)
    if connection.errors_occurred or waiting.poll(0):
        connection.close()


async def release_request_thread() -> None:
    """Close the request's session and end its thread: a waiting request then holds neither.

    Django keeps one thread per request for synchronous code (middleware, ORM) until the response is finished.
    Later synchronous code of the same request gets a new thread.
    """
    context = SyncToAsync.thread_sensitive_context.get(None)
    if context is None or context not in SyncToAsync.context_to_thread_executor:
        return
    await sync_to_async(connections.close_all)()
    SyncToAsync.context_to_thread_executor.pop(context).shutdown(wait=False)
