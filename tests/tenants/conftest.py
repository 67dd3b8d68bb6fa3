from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.tenants.receiving import Receiver, receiving


@pytest.fixture
def make_receiver(settings) -> Iterator[Callable[[], Receiver]]:
    with ExitStack() as servers:

        def make() -> Receiver:
            receiver = Receiver()
            host_port = servers.enter_context(receiving(receiver))
            settings.OUTBOUND_ALLOWED_HOSTS = [*settings.OUTBOUND_ALLOWED_HOSTS, host_port]
            return receiver

        yield make


@pytest.fixture
def receiver(make_receiver) -> Receiver:
    return make_receiver()


@pytest.fixture
def tenant(db):
    from tenants import services  # needs the settings

    return services.create_tenant(slug="acme")


@pytest.fixture
def sent(monkeypatch) -> list[tuple[str, dict]]:
    """Every message that would go to the broker, as (task, arguments); none goes."""
    messages: list[tuple[str, dict]] = []

    def keep(self, args=None, kwargs=None, **options):
        messages.append((self.name, kwargs))

    monkeypatch.setattr("celery.app.task.Task.apply_async", keep)
    return messages


@pytest.fixture
def endpoint(tenant, receiver):
    from tenants import services

    return services.create_endpoint(tenant=tenant, url=receiver.url)[0]


@pytest.fixture
def emit(tenant, sent):
    from tenants import services

    return lambda **values: services.emit(tenant=tenant, type="query.answered", payload={"answer": "پاسخ"}, **values)
