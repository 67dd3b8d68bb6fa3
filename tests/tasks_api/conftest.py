from collections.abc import Iterator

import pytest

from tests.workers import Worker, running_worker, wait_until

SETTINGS = {"DJANGO_SETTINGS_MODULE": "tests.tasks_api.settings"}


@pytest.fixture(scope="package")
def prefork_of_package(django_db_setup) -> Iterator[Worker]:
    with running_worker(queues=("default",), pool="prefork", concurrency=2, env=SETTINGS) as worker:
        yield worker


@pytest.fixture
def clean(transactional_db) -> Iterator[None]:
    """Rows and broker are empty; a worker's heartbeat stays."""
    from core.redis import client
    from tasks_api.models import TaskRun

    _delete_messages()
    yield
    client().set("test:release", 1)
    wait_until(lambda: not TaskRun.objects.filter(state="running").exists())
    _delete_messages()


@pytest.fixture
def prefork(clean, prefork_of_package) -> Worker:
    return prefork_of_package


def _delete_messages() -> None:
    from core.redis import client

    keys = [key for key in client().scan_iter("*") if key != "workers" and not key.startswith(("_kombu", "unacked"))]
    if keys:
        client().delete(*keys)
