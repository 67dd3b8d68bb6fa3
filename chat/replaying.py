"""The questions that people really ask, asked of two versions of a tenant's knowledge."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count
from django.utils import timezone

from chat import answering, query_cache
from chat.answering import smalltalk
from chat.models import Message
from core.states import State
from tenants.models import Tenant

SPELLINGS_PER_QUESTION = 5  # read for each question wanted, before spellings are joined


@dataclass(frozen=True)
class Outcome:
    """``pages``: the cited URLs, in order, without those that are merely near."""

    text: str
    pages: tuple[str, ...]
    is_refused: bool


@dataclass(frozen=True)
class Comparison:
    question: str
    asked: int
    live: Outcome
    other: Outcome

    @property
    def changes(self) -> list[str]:
        """Return what differs: ``refusal``, ``pages``, ``text``."""
        differs = {
            "refusal": self.live.is_refused != self.other.is_refused,
            "pages": self.live.pages != self.other.pages,
            "text": self.live.text != self.other.text,
        }
        return [name for name, is_other in differs.items() if is_other]


def frequent_questions(tenant: Tenant, *, since: datetime, limit: int) -> list[tuple[str, int]]:
    """Return the questions asked most since then and how often, spellings of one question joined; no small talk."""
    asked = Message.objects.for_tenant(tenant).filter(state=State.DONE, created_at__gte=since)
    counted = asked.values("question").annotate(count=Count("pk")).order_by("-count", "question")
    spelt: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for row in counted[: limit * SPELLINGS_PER_QUESTION]:
        if smalltalk.reply_to(row["question"], tenant.name):
            continue
        key = query_cache.spelling(row["question"])
        spelt.setdefault(key, row["question"])
        counts[key] += row["count"]
    return [(spelt[key], count) for key, count in counts.most_common(limit)]


def compare(question: str, asked: int, *, live: Tenant, other: Tenant) -> Comparison:
    """Ask both versions now; nothing is stored, counted or kept."""
    return Comparison(question, asked, _ask(live, question), _ask(other, question))


def _ask(version: Tenant, question: str) -> Outcome:
    text, citations, finish_reason = "", [], ""
    unsaved = Message(tenant=version, question=question, created_at=timezone.now())
    for piece in answering.answer(unsaved, should_stop=lambda: False):
        parts = asyncio.run(_all(piece.pieces)) if isinstance(piece, answering.ByModel) else [piece]
        for part in parts:
            match part:
                case answering.Text(text=more):
                    text += more
                case answering.Sources(citations=so_far):
                    citations = so_far
                case answering.Ending(finish_reason=reason):
                    finish_reason = reason
    pages = dict.fromkeys(citation["url"] for citation in citations if not citation.get("nearest"))
    return Outcome(text.strip(), tuple(pages), finish_reason == Message.FinishReason.NOT_FOUND)


async def _all(pieces: AsyncGenerator[answering.Piece, None]) -> list[answering.Piece]:
    return [piece async for piece in pieces]
