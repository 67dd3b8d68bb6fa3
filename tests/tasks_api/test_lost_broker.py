"""A worker whose broker is killed under it: it stays, what it does goes on, and it takes new work afterwards."""

import subprocess

import pytest
from kombu import Connection

from core.embedded import ports
from core.embedded.valkey import Valkey
from tasks_api.models import TaskRun
from tests.tasks_api import tasks
from tests.tasks_api.conftest import SETTINGS
from tests.workers import running_worker, wait_until

AT_ONCE = 3


class Broker:
    """A broker of its own, which may be killed and started again."""

    def __init__(self, folder):
        self.server = Valkey(folder, ports.find_free(), "secret")
        self.server.ensure_configured()
        self.start()

    def start(self):
        self.process = subprocess.Popen(self.server.command(), stdout=subprocess.DEVNULL)
        wait_until(self.server.is_ready)

    def kill(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture
def broker(tmp_path):
    running = Broker(tmp_path / "valkey")
    yield running
    running.kill()


def states():
    return sorted(TaskRun.objects.values_list("state", flat=True))


def begin(broker, release):
    with Connection(broker.server.url) as connection:
        tasks.go_on_without_redis.apply_async(kwargs={"release": str(release)}, connection=connection)


@pytest.mark.slow
def test_a_worker_outlives_its_broker_with_all_that_it_does(clean, broker, tmp_path):
    release = tmp_path / "release"
    with running_worker(queues=("default",), env=SETTINGS | {"REDIS_URL": broker.server.url}) as worker:
        for _ in range(AT_ONCE):
            begin(broker, release)
        wait_until(lambda: states() == ["running"] * AT_ONCE, explain=lambda: worker.log)

        broker.kill()
        wait_until(lambda: "onnection to broker lost" in worker.log, explain=lambda: worker.log)
        broker.start()
        begin(broker, release)
        wait_until(lambda: states() == ["running"] * (AT_ONCE + 1), 40, lambda: worker.log)
        release.touch()

        wait_until(lambda: states() == ["done"] * (AT_ONCE + 1), explain=lambda: worker.log)
        assert worker.process.poll() is None
    assert set(TaskRun.objects.values_list("attempts", flat=True)) == {1}
