"""Webhooks sent by a real worker that is killed in the middle, with the sweeper as its only help."""

import os
import random
import signal
import tempfile
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.conf import settings as django_settings
from django.db import transaction

from bench.world import PYTHON, World
from core.processes import BY_NAME
from core.states import State
from tenants import services, tasks
from tenants.models import WebhookDelivery
from tests.tenants.receiving import Reply

EVENTS, KILLS = 60, 3
WORKER = [PYTHON, "-m", "celery", "-A", "core", "--quiet", "worker", "-Q", "default", "-P", "prefork", "-c", "2"]


def test_a_slice_of_deliveries_has_time_to_end_before_it_is_cut_off(settings):
    deliver = tasks.deliver_webhook_task

    assert deliver.soft_time_limit > settings.WEBHOOK_SLICE_SECONDS + settings.WEBHOOK_TIMEOUT_SECONDS


@pytest.fixture
def world():
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pasokh-sending-")))
        (folder / "var" / "health").mkdir(parents=True)
        yield World(folder, stack)


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_nothing_is_lost_when_the_sender_is_killed_and_the_receiver_fails_at_random(
    tenant, receiver, world, redis_client
):
    dice = random.Random(7)
    delivered = []

    def answer(request):
        if dice.random() < 0.3:
            return Reply(500)
        delivered.append(request.headers["webhook-id"])
        return Reply(204)

    receiver.answer = answer
    services.create_endpoint(tenant=tenant, url=receiver.url)
    with transaction.atomic():
        events = [services.emit(tenant=tenant, type="query.answered", payload={"n": n}) for n in range(EVENTS)]
    environ = environment(world.folder, receiver)
    world.start("sweeper", BY_NAME["sweeper"].command, **environ)

    for number in range(KILLS + 1):
        worker = world.start("worker", WORKER, **environ)
        if number == KILLS:
            break
        wanted = EVENTS * (number + 1) // (KILLS + 2)
        world.wait_for(lambda wanted=wanted: len(delivered) >= wanted, "nothing arrives", process=worker, log="worker")
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()

    world.wait_for(
        lambda: not WebhookDelivery.objects.exclude(state=State.DONE).exists(), "not all arrived", log="worker"
    )
    assert set(delivered) == {str(event.pk) for event in events}
    assert len(receiver.requests) > EVENTS  # it did fail


def environment(folder, receiver):
    url = urlsplit(os.environ["DATABASE_URL"])
    return {
        "DATABASE_URL": url._replace(path="/" + django_settings.DATABASES["default"]["NAME"]).geturl(),
        "VAR_DIR": str(folder / "var"),
        "PATH": f"{Path(PYTHON).parent}{os.pathsep}{os.environ['PATH']}",
        "OUTBOUND_ALLOWED_HOSTS": urlsplit(receiver.url).netloc,
        "WEBHOOK_TIMEOUT_SECONDS": "1",
        "WEBHOOK_SLICE_SECONDS": "1",
        "WEBHOOK_RETRY_DELAYS_SECONDS": ",".join(["0.2"] * 20),
    }
