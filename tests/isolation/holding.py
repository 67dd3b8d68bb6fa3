"""A background task that lasts until the test says so: it stands for a crawl that takes long."""

import time

from celery import shared_task

from core.redis import client

HELD, RELEASE = "test:held", "test:release"
GIVE_UP_SECONDS = 60


@shared_task(name="crawl.hold_for_test")
def hold_for_test() -> None:
    client().incr(HELD)
    deadline = time.monotonic() + GIVE_UP_SECONDS
    while not client().exists(RELEASE) and time.monotonic() < deadline:
        time.sleep(0.05)
    client().decr(HELD)
