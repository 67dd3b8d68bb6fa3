"""What a waiting request costs, on a real server."""

import asyncio
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest
from django.db import connection

from core.embedded.ports import find_free
from tests.workers import BASE_DIR, environment, wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

REQUESTS = 60
NAME = "waiting-web"  # of the server's sessions; this process has some of its own
NOTHING_KEPT = {"DATABASE_SESSION_IDLE_SECONDS": "0", "PGAPPNAME": NAME}  # so that whatever is open is held


@pytest.fixture
def server():
    """A real web process: its URL and its process id."""
    port = find_free()
    command = [sys.executable, "-m", "uvicorn", "core.asgi:application", "--port", str(port), "--log-level", "warning"]
    process = subprocess.Popen(command, cwd=BASE_DIR, env=environment(NOTHING_KEPT))
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: process.poll() is not None or answers(url), 60)
        yield url, process.pid
    finally:
        process.kill()
        process.wait()


def answers(url):
    try:
        return httpx2.get(f"{url}/api/v1/messages/x", timeout=2).status_code == 404
    except httpx2.HTTPError:
        return False


def threads(pid):
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def sessions():
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = %s", [NAME])
        return cursor.fetchone()[0]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts threads in /proc")
@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
def test_sixty_waiting_requests_hold_neither_threads_nor_sessions(server, api_key, accept):
    from chat.models import Message
    from core.states import State

    url, pid = server

    async def ask(client, n):
        body = {"question": f"Why {n}?", "user_id": "u"}
        response = await client.post(f"{url}/api/v1/query/", json=body)
        return response.status_code, response.text

    async def ask_all():
        headers = {"X-API-Key": api_key, "Accept": accept}
        async with httpx2.AsyncClient(headers=headers, timeout=60, limits=httpx2.Limits()) as client:
            asking = [asyncio.create_task(ask(client, n)) for n in range(REQUESTS)]
            await asyncio.to_thread(measure)
            return await asyncio.gather(*asking)

    def measure():
        try:
            wait_until(lambda: Message.objects.count() == REQUESTS, 40)
            wait_until(lambda: threads(pid) < 25, 10, lambda: f"{threads(pid)} threads")
            wait_until(lambda: sessions() <= 5, 10, lambda: f"{sessions()} sessions")
        finally:
            Message.objects.update(state=State.DONE, finish_reason="answered", answer="Because.")
            connection.close()

    answered = asyncio.run(ask_all())

    assert all(status == 200 and "Because." in text for status, text in answered)
