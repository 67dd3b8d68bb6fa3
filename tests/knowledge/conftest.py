"""Imports of the product stand inside the fixtures: this file is read before the settings are known."""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from tests.knowledge.embedding_server import EmbeddingServer, running_server

if TYPE_CHECKING:
    from knowledge.models import Document
    from tenants.models import Tenant


@pytest.fixture
def tenant(db: None) -> "Tenant":
    from tenants.services import create_tenant

    return create_tenant(slug="acme")


@pytest.fixture
def stranger(db: None) -> "Tenant":
    from tenants.services import create_tenant

    return create_tenant(slug="stranger")


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The document ids for which a message left, in order."""
    return _rung_for(monkeypatch, "sync_embeddings_task", "document_id")


def _rung_for(monkeypatch: pytest.MonkeyPatch, task: str, argument: str) -> list[str]:
    """Collect that argument of each message that the task would get."""
    values: list[str] = []
    monkeypatch.setattr(
        f"knowledge.tasks.{task}.apply_async", lambda *, kwargs, **_options: values.append(kwargs[argument])
    )
    return values


@pytest.fixture
def store(sent: list[str], django_capture_on_commit_callbacks: Any) -> "Callable[..., Document]":
    """Store a page as a crawl does, up to and including what follows the commit."""
    from django.utils import timezone

    from knowledge import services

    def store(tenant: "Tenant", url: str, content: str, *, title: str = "", at: datetime | None = None) -> "Document":
        with django_capture_on_commit_callbacks(execute=True):
            return services.store_page(
                tenant=tenant, url=url, title=title, language="en", content=content, fetched_at=at or timezone.now()
            )

    return store


@pytest.fixture
def bells(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The full syncs for which a message left, in order."""
    return _rung_for(monkeypatch, "trigger_full_sync_task", "full_sync_id")


@pytest.fixture
def learn(store: "Callable[..., Document]", bells: list[str]) -> "Callable[..., list[Document]]":
    """Store pages and have their vectors made."""
    from knowledge import tasks

    def learn(tenant: "Tenant", *texts: str, at: str = "") -> "list[Document]":
        documents = [store(tenant, f"https://example.com/{at}{number}", text) for number, text in enumerate(texts)]
        for document in documents:
            tasks.sync_embeddings_task(document_id=str(document.pk))
        return documents

    return learn


@pytest.fixture
def server(settings: Any) -> Iterator[EmbeddingServer]:
    with running_server() as server:
        settings.EMBEDDING_BASE_URL = settings.EMBEDDING_PREVIOUS_BASE_URL = server.url
        settings.EMBEDDING_MODEL = "served/a"
        settings.KNOWLEDGE_FULL_SYNC_GRACE_SECONDS = 0
        yield server


@pytest.fixture
def embedder(monkeypatch: pytest.MonkeyPatch) -> "Embedder":
    """In place of the model: quick, and it says what it was asked."""
    stand_in = Embedder()
    monkeypatch.setattr("knowledge.embeddings.embed_passages", stand_in.embed_passages)
    monkeypatch.setattr("knowledge.embeddings.embed_query", stand_in.embed_query)
    monkeypatch.setattr("knowledge.embeddings.model_id", lambda: stand_in.model)
    monkeypatch.setattr("knowledge.embeddings.is_known", stand_in.is_known)
    return stand_in


class Embedder:
    """Vectors that point where the letters of a text do; ``error`` makes it fail instead.

    It knows ``model`` and those in ``previous``, as the settings would.
    """

    def __init__(self) -> None:
        self.model = "stand-in/1"
        self.previous: set[str] = set()
        self.asked: list[str] = []
        self.error: Exception | None = None

    def embed_passages(self, texts: list[str], *, model: str = "") -> list[list[float]]:
        self._check(model)
        self.asked += texts
        return [self._vector(text) for text in texts]

    def embed_query(self, text: str, *, model: str = "") -> list[float]:
        self._check(model)
        return self._vector(text)

    def is_known(self, model: str) -> bool:
        return model in {"", self.model, *self.previous}

    def _check(self, model: str) -> None:
        from knowledge.errors import EmbeddingModelUnknownError

        if self.error:
            raise self.error
        if not self.is_known(model):
            raise EmbeddingModelUnknownError(model)

    @staticmethod
    def _vector(text: str) -> list[float]:
        return [1.0 + sum(1 for letter in text if ord(letter) % 8 == place) for place in range(8)]
