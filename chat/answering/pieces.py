"""What an answer is made of while it is written."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import NotRequired, TypedDict

from chat.model_events import Usage
from chat.query_cache import Slot
from knowledge.search import Passage


class Citation(TypedDict):
    """``n`` is the number in the text, ``quote`` a true part of the page; ``nearest``: it is near, not the source.

    ``fetched_at`` is when the page was last read, or found unchanged, in ISO 8601.
    """

    n: int
    url: str
    title: str
    quote: str
    fetched_at: str
    nearest: NotRequired[bool]


def cite(n: int, passage: Passage, quote: str) -> Citation:
    fetched_at = passage.fetched_at.isoformat()
    return Citation(n=n, url=passage.url, title=passage.title, quote=quote, fetched_at=fetched_at)


@dataclass(frozen=True)
class Author:
    """Who writes: "extractive", "greeting" or the model's name; comes first."""

    model: str


@dataclass(frozen=True)
class FromCache:
    """What follows was written for an earlier question; comes before any text."""


@dataclass(frozen=True)
class Text:
    """More of the answer."""

    text: str


@dataclass(frozen=True)
class Sources:
    """All citations so far, in the order of their numbers."""

    citations: list[Citation]


@dataclass(frozen=True)
class Ending:
    """The last piece: how it ended."""

    finish_reason: str


@dataclass(frozen=True)
class MayKeep:
    """The whole answer may be kept for the next one who asks the same; comes before any text."""

    slot: Slot


Piece = Author | FromCache | Text | Sources | MayKeep | Usage | Ending


@dataclass(frozen=True)
class ByModel:
    """The rest of the answer is a model's: it takes seconds, so it is to be read on an event loop."""

    pieces: AsyncGenerator[Piece, None]
