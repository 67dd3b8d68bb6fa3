import signal
import subprocess

import pytest

from core import processes
from tests.core import process_sessions
from tests.workers import wait_until

pytestmark = pytest.mark.slow


def health(service, environ):
    return subprocess.run(
        service.health, cwd=process_sessions.CHECKOUT, env=environ, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("service", processes.SERVICES, ids=lambda service: service.name)
def test_service_becomes_healthy_and_stops_without_an_orphan(service, service_environ, redis_client, tmp_path):
    assert health(service, service_environ).returncode == 1, "healthy before it was started"
    log = tmp_path / "log"
    process = process_sessions.start(service.command, service_environ, log)
    try:
        wait_until(
            lambda: health(service, service_environ).returncode == 0,
            60,
            lambda: f"{health(service, service_environ).stdout}\n{log.read_text()}",
            every=0.5,
        )
        assert process.poll() is None, log.read_text()

        process.send_signal(signal.SIGTERM)
        process.wait(timeout=service.stop_grace_seconds)

        assert process_sessions.members(process.pid) == []
    finally:
        process_sessions.end(process)
    assert "only-for-tests" not in log.read_text(), "a secret in the log"


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_worker_refuses_to_read_chat_beside_other_queues(pool, service_environ, redis_client):
    command = ["python", "-m", "celery", "-A", "core", "--quiet", "worker", "-n", "all@%h", "-P", pool, "-c", "1"]
    done = subprocess.run(
        [*command, "-Q", "high_priority,default,low_priority"],
        cwd=process_sessions.CHECKOUT, env=service_environ, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert done.returncode == 1
    [line] = [line for line in done.stderr.splitlines() if line.startswith("pasokh:")]
    assert "must not consume both high_priority and default,low_priority" in line
    assert "Traceback" not in done.stderr
