"""Answers out of the cache, and what may go into it."""

from collections.abc import Iterator, Sequence

from chat.answering.pieces import Citation, Ending, FromCache, Piece, Sources, Text
from chat.models import CachedAnswer
from knowledge import services
from knowledge.search import Passage


def replay(kept: CachedAnswer) -> Iterator[Piece]:
    """Yield a kept answer as if it were written now."""
    yield FromCache()
    if kept.citations:
        yield Sources(_with_dates_of_now(kept))
    yield Text(kept.answer)
    yield Ending(kept.finish_reason)


def _with_dates_of_now(kept: CachedAnswer) -> list[Citation]:
    """Return the citations with when their pages were last read: finding a page unchanged keeps the answer."""
    dates = services.read_dates(tenant=kept.tenant, urls=[citation["url"] for citation in kept.citations])
    return [
        citation | {"fetched_at": dates[citation["url"]].isoformat()} if citation["url"] in dates else citation
        for citation in kept.citations
    ]


def may_keep(passages: Sequence[Passage]) -> bool:
    """Tell whether the search was a whole one: passages that nobody compared by meaning make a makeshift answer.

    So it is while the embedding model is away, and nothing would end that answer's time when it is back.
    """
    return not passages or any(passage.cosine is not None for passage in passages)
