"""Giving database sessions back while a person or a thread merely waits."""

from django.db import connection


def release_connection() -> None:
    """Close this thread's session; the next query opens another. Inside a transaction it stays open."""
    if not connection.in_atomic_block:
        connection.close()
