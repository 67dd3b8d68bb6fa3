"""Answers on their way into the cache and out of it."""

from collections.abc import Iterator, Sequence

from chat.answering.pieces import Citation, Ending, FromCache, Piece, Sources, Text
from chat.models import CachedAnswer
from chat.query_cache import Slot
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


def recorded(pieces: Iterator[Piece], slot: Slot) -> Iterator[Piece]:
    """Yield the pieces, and keep the answer if they come to their end; one that was stopped or failed is not kept."""
    text = ""
    citations: list[Citation] = []
    for piece in pieces:
        match piece:
            case Text(text=more):
                text += more
            case Sources(citations=so_far):
                citations = so_far
            case Ending(finish_reason=reason):
                slot.keep(answer=text, citations=[dict(citation) for citation in citations], finish_reason=reason)
        yield piece
