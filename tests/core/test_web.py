"""The web service is replaced under load: nothing is refused, nothing cut off."""

import os
import signal
import threading
import time

import httpx2
import pytest

from tests.web_process import is_well, running_web
from tests.workers import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]


@pytest.fixture
def tenant_key():
    from tenants import services

    return services.create_api_key(tenant=services.create_tenant(slug="acme"), name="test")[1]


@pytest.fixture
def web():
    """The service as it ships: its URL and its process."""
    with running_web() as (url, process):
        yield url, process


def serving(process):
    with open(f"/proc/{process.pid}/task/{process.pid}/children") as children:
        return [int(pid) for pid in children.read().split()]


def test_no_request_fails_while_the_serving_process_is_replaced(web, tenant_key):
    url, process = web
    before = serving(process)
    asked, failed, over = [], [], threading.Event()

    def ask_again_and_again():
        while not over.is_set():
            asked.append(1)
            if not is_well(url):
                failed.append(time.time())

    def ask_and_wait():
        headers = {"X-API-Key": tenant_key, "Prefer": "wait=6"}
        body = {"question": "Who is there?", "user_id": "u"}
        return httpx2.post(f"{url}/api/v1/query/", json=body, headers=headers, timeout=30).status_code

    waiting = []
    threads = [threading.Thread(target=ask_again_and_again) for _ in range(4)]
    threads.append(threading.Thread(target=lambda: waiting.append(ask_and_wait())))
    for thread in threads:
        thread.start()
    process.send_signal(signal.SIGHUP)
    wait_until(lambda: set(serving(process)) - set(before) and not set(serving(process)) & set(before), 60)
    over.set()
    for thread in threads:
        thread.join(30)

    assert waiting == [202]  # begun by the old process, which ended it before itself
    assert len(asked) > 20
    assert failed == []


def test_what_serves_is_started_again_and_ends_with_its_parent(web):
    url, process = web
    (first,) = serving(process)
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: serving(process) not in ([], [first]) and is_well(url), 60)

    (second,) = serving(process)
    process.kill()
    wait_until(lambda: not is_well(url), 30)
    wait_until(lambda: not os.path.exists(f"/proc/{second}"), 30)
