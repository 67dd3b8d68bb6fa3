from datetime import UTC, datetime

import pytest


@pytest.fixture
def tenant(db):
    from tenants import services as tenants

    return tenants.create_tenant(slug="acme", name="Acme")


@pytest.fixture
def api_key(tenant):
    from tenants import services as tenants

    return tenants.create_api_key(tenant=tenant, name="test")[1]


@pytest.fixture
def site(tenant):
    """Three small pages, searchable by their words."""
    from knowledge.services import store_page

    pages = [
        ("https://acme.example/install", "Install", "en", INSTALL),
        ("https://acme.example/refunds", "Refunds", "en", REFUNDS),
        ("https://acme.example/fa/refunds", "بازگشت وجه", "fa", REFUNDS_FA),
    ]
    for url, title, language, content in pages:
        store_page(
            tenant=tenant, url=url, title=title, language=language, content=content, fetched_at=datetime.now(UTC)
        )
    return pages


@pytest.fixture
def rung(monkeypatch):
    """What was sent to the workers, instead of sending it."""
    from chat import tasks

    sent: list[str] = []
    monkeypatch.setattr(
        tasks.answer_message_task, "apply_async", lambda *_args, kwargs, **_options: sent.append(kwargs["message_id"])
    )
    return sent


INSTALL = """# Install

Acme runs on Python 3.11 or newer. Download the wheel from the releases page.

To install Acme, run this command:

```
pip install acme
```

The installer needs 200 MB of free disk space.
"""
REFUNDS = """# Refunds

You can return any item within 30 days of delivery. The money is paid back to the card that was charged.

- Gift cards cannot be returned.
- Opened software cannot be returned.
"""
REFUNDS_FA = """# بازگشت وجه

هر کالا را تا ۳۰ روز پس از تحویل می‌توانید بازگردانید. وجه به همان کارتی که پرداخت کرده‌اید واریز می‌شود.

- کارت هدیه قابل بازگشت نیست.
"""


@pytest.fixture(scope="module")
def worker(django_db_setup):
    """One real worker on high_priority for a module's tests that only need an answer; nobody may kill it."""
    from tests.workers import running_worker

    with running_worker(concurrency=8) as process:
        yield process


@pytest.fixture(scope="session", autouse=True)
def _close_async_session(django_db_setup):
    """Async tests run their queries on one thread of asgiref's; its session would outlive the database."""
    yield
    from asgiref.sync import SyncToAsync
    from django.db import connections

    SyncToAsync.single_thread_executor.submit(connections.close_all).result()


@pytest.fixture
def model_server():
    """A server that speaks the models' protocol, well or badly as the model's name says."""
    from tests.chat.model_server import running_model_server

    with running_model_server() as server:
        yield server


@pytest.fixture
def use_model(settings, model_server):
    """Return a function that makes answers come from the model with this name."""

    def use(name):
        settings.LLM_BASE_URL, settings.LLM_MODEL = model_server.url, name

    return use
