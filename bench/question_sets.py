"""Questions with the paragraphs that answer them, or do not.

A set is a folder NAME_LANGUAGE with ``paragraphs.jsonl`` {paragraph_id, title, text} and ``questions.jsonl``
{question, paragraph_id, answers}; no answers where the paragraph has none. Each paragraph becomes a page.
"""

import hashlib
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from django.utils import timezone

from bench import words
from knowledge import services, tasks
from knowledge.models import SyncItem
from tenants.models import Tenant
from tenants.services import create_tenant

SEED = 7
KNOWN_SHARE = 0.8  # of the articles; questions about the others are about another subject


@dataclass(frozen=True)
class Question:
    text: str
    golds: tuple[str, ...]
    paragraph_id: str


@dataclass(frozen=True)
class Asked:
    paragraphs: list[dict[str, Any]]
    answerable: list[Question]
    unanswerable: list[Question]  # about a paragraph that is there
    foreign: list[Question]  # about an article that is not there
    sampled: list[Question]  # answerable, about either half of the articles


def load(folder: Path | None, language: str, count: int, *, half: int = 1) -> Asked:
    """Return at most ``count`` questions of each kind, about one half of the articles (0 is for tuning).

    Only those in ``sampled`` are drawn from all articles.
    """
    if folder is None:
        return _own(language)
    paragraphs: list[dict[str, Any]] = []
    questions: list[dict[str, Any]] = []
    for path in sorted(folder.glob(f"*_{language}")):
        rows = [row for row in _lines(path / "questions.jsonl") if row.get("paragraph_id")]
        if rows and "answers" in rows[0]:
            paragraphs += _lines(path / "paragraphs.jsonl")
            questions += rows
    title_of = {row["paragraph_id"]: row["title"] for row in paragraphs}
    unknown = {title for title in title_of.values() if _chance(title, "unknown") >= KNOWN_SHARE}
    chosen = [row for row in questions if (_chance(title_of[row["paragraph_id"]], "half") < 0.5) == (half == 0)]
    random.Random(SEED).shuffle(chosen)
    random.Random(SEED).shuffle(questions)
    known = [row for row in chosen if title_of[row["paragraph_id"]] not in unknown]
    foreign = [row for row in chosen if title_of[row["paragraph_id"]] in unknown]
    return Asked(
        paragraphs=[row for row in paragraphs if row["title"] not in unknown],
        answerable=[_question(row) for row in known if row["answers"]][:count],
        unanswerable=[_question(row) for row in known if not row["answers"]][:count],
        foreign=[_question(row) for row in foreign][:count],
        sampled=[
            _question(row) for row in questions if row["answers"] and title_of[row["paragraph_id"]] not in unknown
        ][:count],
    )


def learn(language: str, paragraphs: list[dict[str, Any]]) -> Tenant:
    """Store every paragraph as a page of a new tenant, with its vectors."""
    tenant = create_tenant(slug=f"quality-{language}")
    with mock.patch.object(tasks, "send_due"), mock.patch("knowledge.services.send_due"):
        for row in paragraphs:
            services.store_page(
                tenant=tenant,
                url=row["paragraph_id"],
                title=row["title"],
                language=language,
                content=row["text"],
                fetched_at=timezone.now(),
            )
        for item in SyncItem.objects.for_tenant(tenant):
            tasks.sync_embeddings_task(document_id=str(item.document_id))
    return tenant


def _own(language: str) -> Asked:
    """Return the made-up devices of `bench.words` with a question each."""
    numbers = [number for number in range(words.DEVICES) if words.language(number) == language]
    paragraphs = [
        {
            "paragraph_id": f"https://devices.example/{number}",
            "title": words.title(number),
            "text": words.markdown(number),
        }
        for number in numbers
    ]
    asked = [
        Question(words.title(number), (words.title(number),), f"https://devices.example/{number}") for number in numbers
    ]
    return Asked(paragraphs, asked, [], [], asked)


def _question(row: dict[str, Any]) -> Question:
    return Question(row["question"], tuple(row["answers"]), row["paragraph_id"])


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open() as lines:
        yield from map(json.loads, lines)


def _chance(title: str, purpose: str) -> float:
    """Return a number in 0..1 that the title alone decides."""
    return int(hashlib.sha256(f"{purpose}:{title}".encode()).hexdigest()[:8], 16) / 2**32
