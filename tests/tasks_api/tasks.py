"""Tasks that end in every way there is."""

import asyncio
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import structlog
from celery import shared_task
from celery.exceptions import SoftTimeLimitExceeded

from core.continuing import in_thread, later
from core.redis import client

GIVE_UP_SECONDS = 60
CONTEXT = "test:context"
RELEASE = "test:release"
RAN = "test:ran"


@shared_task(name="tests.succeed")
def succeed(**_kwargs):
    client().incr(RAN)
    client().set(CONTEXT, str(sorted(structlog.contextvars.get_contextvars().items())))


@shared_task(name="tests.fail")
def fail():
    raise ValueError("this is the reason")


@shared_task(name="tests.retry", bind=True, max_retries=1)
def retry_once(self):
    if self.request.retries == 0:
        raise self.retry(countdown=0.2)


@shared_task(name="tests.wait")
def wait():
    deadline = time.monotonic() + GIVE_UP_SECONDS
    while not client().exists(RELEASE) and time.monotonic() < deadline:
        time.sleep(0.02)


@shared_task(name="tests.lose", reject_on_worker_lost=False)
def lose_process():
    os.kill(os.getpid(), signal.SIGKILL)


@shared_task(name="tests.overrun", soft_time_limit=1, time_limit=2)
def overrun():
    with suppress(SoftTimeLimitExceeded):
        time.sleep(GIVE_UP_SECONDS)
    time.sleep(GIVE_UP_SECONDS)


@shared_task(name="tests.taken")
def find_row_taken():
    return False


@shared_task(name="tests.parent")
def start_another():
    succeed.delay(item_id=7)


@shared_task(name="tests.go_on")
def go_on(*, fails=False):
    return later(_until_released(fails))


async def _until_released(fails):
    while not await in_thread(lambda: client().exists(RELEASE)):
        await asyncio.sleep(0.05)
    if fails:
        raise ValueError("this is the reason")


@shared_task(name="tests.go_on_without_redis")
def go_on_without_redis(*, release):
    """Go on until the file ``release`` is there."""
    return later(_until_there(Path(release)))


async def _until_there(path):
    while not path.exists():
        await asyncio.sleep(0.05)
