"""Every test runs against its own embedded PostgreSQL and Valkey, never the running ones."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from core.embedded.running import running_postgres, running_valkey

LONGEST_FILE = "test_operations_document.py"

_services = ExitStack()


def pytest_configure(config: pytest.Config) -> None:
    """Start the services and point the settings at them, before pytest-django reads those."""
    if config.getoption("numprocesses", None):
        return  # only hands out tests; each process that runs them comes through here by itself
    folder = Path(_services.enter_context(tempfile.TemporaryDirectory(prefix="pasokh-test-")))
    folder.chmod(0o755)
    os.environ |= {
        "CHAT_WAITING_MAX": "0",  # questions that no worker ever takes would keep out those of later tests
        "PASOKH_ENV_FILE": os.devnull,
        "VAR_DIR": str(folder / "var"),
        "SECRET_KEY": "only-for-tests",
        "DJANGO_SETTINGS_MODULE": "core.settings",
        "DATABASE_URL": os.environ.get("TEST_DATABASE_URL") or _services.enter_context(running_postgres(folder)).url,
        "REDIS_URL": os.environ.get("TEST_REDIS_URL") or _services.enter_context(running_valkey(folder)).url,
    }
    for name in ("LLM_BASE_URL", "EMBEDDING_BASE_URL"):
        os.environ.pop(name, None)
    import django  # pytest-django sets up only if settings were known before this hook

    django.setup()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the longest file begin first, so that two test processes end at about the same time."""
    items.sort(key=lambda item: item.path.name != LONGEST_FILE)


def pytest_unconfigure(config: pytest.Config) -> None:
    _services.close()


@pytest.fixture(autouse=True)
def _no_language_left() -> Iterator[None]:
    """Forget the language of the last request: in a server the next one sets its own."""
    yield
    from django.utils import translation  # needs the settings above

    translation.deactivate()


@pytest.fixture
def redis_client() -> Iterator[object]:
    from core.redis import client  # needs the settings above

    client().flushdb()
    yield client()
    client().flushdb()


@pytest.fixture(scope="session")
def django_db_modify_db_settings_xdist_suffix() -> None:
    """Keep the database's name: each test process has a server of its own."""
