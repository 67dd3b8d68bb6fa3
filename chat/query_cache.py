"""Answers kept for the next one who asks a tenant's assistant the same (docs/query-cache.md).

A kept answer is found only under everything that it was made from: the tenant, the version of its knowledge, the code
and settings of answering, the model, and the question. So nothing has to be told when a page changes: from the commit
of the change on, the tenant's version is another, and the old answers are not found any more.
"""

import hashlib
import json
import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import Error
from django.utils import timezone

import knowledge
from chat.models import CachedAnswer
from knowledge import embeddings, version
from knowledge.text import normalise
from tenants.models import Tenant

log = logging.getLogger(__name__)

USE_NOTED_EVERY = timedelta(hours=1)  # so that a popular answer is not written to at each hit
_END_MARKS = re.compile(r"[\s?؟!.]+$")


@dataclass(frozen=True)
class Slot:
    """The place of one question's answer in the cache."""

    tenant: Tenant
    key: str
    knowledge_version: int
    basis: str
    model: str

    def find(self) -> CachedAnswer | None:
        """Return the answer that is kept here, if it is not too old."""
        now = timezone.now()
        kept = CachedAnswer.objects.for_tenant(self.tenant).filter(key=self.key, expires_at__gt=now).first()
        if kept is not None and kept.used_at < now - USE_NOTED_EVERY:
            CachedAnswer.objects.filter(pk=kept.pk).update(used_at=now)
        return kept

    def keep(self, *, answer: str, citations: list[dict[str, Any]], finish_reason: str) -> None:
        """Keep the answer here; of several written at once the last one stays. A failure is logged, not raised."""
        now = timezone.now()
        row = CachedAnswer(
            tenant=self.tenant,
            key=self.key,
            knowledge_version=self.knowledge_version,
            basis=self.basis,
            model=self.model,
            answer=answer,
            citations=citations,
            finish_reason=finish_reason,
            used_at=now,
            expires_at=now + timedelta(hours=settings.QUERY_CACHE_TTL_HOURS),
        )
        try:
            CachedAnswer.objects.bulk_create(
                [row],
                update_conflicts=True,
                unique_fields=["tenant", "key"],
                update_fields=["answer", "citations", "finish_reason", "created_at", "used_at", "expires_at"],
            )
        except Error as exc:
            log.warning("an answer could not be kept in the cache: %s", type(exc).__name__)


def slot(*, tenant: Tenant, question: str, model: str) -> Slot | None:
    """Return the question's place for the tenant's knowledge of now, or None if the cache is switched off.

    Only for a question that stands for itself: what was said before is no part of the place.
    """
    if not settings.QUERY_CACHE_ENABLED:
        return None
    now = version.current(tenant)
    made_of = basis(model)
    key = _digest([str(tenant.knowledge_id), now, made_of, spelling(question)])
    return Slot(tenant=tenant, key=key, knowledge_version=now, basis=made_of, model=model)


def spelling(question: str) -> str:
    """Return what is the same for two spellings of one question: letters, digits, spaces, marks at the end."""
    return _END_MARKS.sub("", " ".join(normalise(question).split()))


def basis(model: str) -> str:
    """Return a digest of what all tenants' answers by the model are made with."""
    made_with = [
        code_version(),
        model,
        settings.LLM_BASE_URL,
        settings.LLM_MAX_TOKENS,
        embeddings.model_id(),
        settings.EMBEDDING_BASE_URL,
        settings.EMBEDDING_DIMENSIONS,
        settings.EMBEDDING_QUERY_PREFIX,
        settings.EMBEDDING_PASSAGE_PREFIX,
    ]
    return _digest(made_with)


@cache
def code_version() -> str:
    """Return a digest of the code that searches and answers, prompts included: a number to raise is forgotten."""
    chat_folder, knowledge_folder = Path(__file__).parent, Path(str(knowledge.__file__)).parent
    return digest_of_files(
        [chat_folder / "llm.py", *(chat_folder / "answering").glob("*.py"), *knowledge_folder.glob("*.py")]
    )


def digest_of_files(paths: Iterable[Path]) -> str:
    return _digest([[path.name, path.read_text(encoding="utf-8")] for path in sorted(paths)])


def _digest(parts: list[Any]) -> str:
    return hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode()).hexdigest()
