"""The threads that all requests of a web process share."""

import asyncio
import threading
import time

import pytest
from asgiref.sync import sync_to_async
from django.db import connection

from core.threads import SharedThreads

pytestmark = pytest.mark.django_db(transaction=True)


async def serve(application, *, threads, requests):
    """Serve the requests at the same time."""
    shared = SharedThreads(application, threads)
    async with asyncio.timeout(10):
        await asyncio.gather(*(shared({"type": "http"}, None, None) for _ in range(requests)))


async def test_a_hundred_requests_share_three_threads():
    seen = set()

    def work():
        seen.add(threading.get_ident())
        time.sleep(0.001)

    async def application(_scope, _receive, _send):
        for _ in range(3):
            await sync_to_async(work)()

    await serve(application, threads=3, requests=100)

    assert 1 <= len(seen) <= 3
    assert threading.get_ident() not in seen


async def test_a_piece_of_work_leaves_no_session_in_its_thread():
    left = []

    def query():
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")

    async def application(_scope, _receive, _send):
        await sync_to_async(query)()
        left.append(await sync_to_async(lambda: connection.connection)())

    await serve(application, threads=1, requests=3)

    assert left == [None] * 3


async def test_a_request_that_waits_keeps_no_thread_from_another():
    goes_on = asyncio.Event()

    async def application(scope, _receive, _send):
        await sync_to_async(lambda: None)()
        if scope["type"] == "waits":
            await goes_on.wait()
            await sync_to_async(lambda: None)()

    shared = SharedThreads(application, 1)
    waiting = asyncio.create_task(shared({"type": "waits"}, None, None))
    async with asyncio.timeout(10):
        await shared({"type": "http"}, None, None)
        goes_on.set()
        await waiting
