"""The honest answer when the site does not say: that, and the pages nearest to the question."""

from collections.abc import Iterator, Sequence

from chat.answering import phrases
from chat.answering.pieces import Citation, Ending, Piece, Sources, Text, cite
from chat.answering.sentences import units_of
from chat.models import Message
from knowledge.search import Passage
from knowledge.text import language_of

PAGES_MAX = 3


def answer(question: str, passages: Sequence[Passage]) -> Iterator[Piece]:
    language = language_of(question)
    citations = nearest(passages)
    if citations:
        yield Sources(citations)
    yield Text(phrases.NOT_FOUND[language])
    if citations:
        yield Text(f"\n\n{phrases.NEAREST_PAGES[language]}\n")
        for citation in citations:
            yield Text(f"\n- {_plain(citation['title']) or citation['url']} [{citation['n']}]")
    yield Ending(Message.FinishReason.NOT_FOUND)


def nearest(passages: Sequence[Passage]) -> list[Citation]:
    """Return one citation per page, marked as merely near, for pages that share a word with the question."""
    pages: dict[str, Passage] = {}
    for passage in passages:
        if passage.coverage > 0:
            pages.setdefault(passage.url, passage)
    return [
        Citation(**cite(n, passage, _first_unit(passage)), nearest=True)
        for n, passage in enumerate(list(pages.values())[:PAGES_MAX], 1)
    ]


def _first_unit(passage: Passage) -> str:
    units = [unit for unit in units_of(passage.content) if unit.kind != "code"]
    return units[0].text if units else passage.content[:200]


def _plain(title: str) -> str:
    return " ".join(title.translate(str.maketrans("", "", "[]*_`<>")).split())
