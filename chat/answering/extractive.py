"""Answers without a model: the site's own sentences that answer best, quoted with their page.

A sentence is scored by how much of the question it covers (rare words count more; words of its headings count in
part), by the kind of answer the question asks for, and by the passage it stands in. The order of the passages, made
by the hybrid search, decides between near equals.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from chat.answering import not_found
from chat.answering.pieces import Citation, Ending, Piece, Sources, Text
from chat.answering.sentences import Unit, units_of
from chat.models import Message
from knowledge.search import Passage
from knowledge.text import normalise, words

MODEL = "extractive"

UNITS_MAX = 4
SECOND_BEST_SHARE = 0.75  # a further sentence must come this near to the best one
HEADING_SHARE = 0.5  # a question word in the heading above counts half
ANSWERS_FROM = 0.45  # the least share of the question's words that a sentence and its headings must cover
PASSAGE_COVERS_FROM = 0.5
CHARS_MAX = 1500

_ASKS_NUMBER = re.compile(r"\b(how many|how much|how long|how old|what year|when|چند|چقدر|چه سالی|چه زمانی|کی)\b")
_ASKS_STEPS = re.compile(r"\b(how to|how do|how can|how should|چگونه|چطور|چه طور|روش|طریقه)\b")
_ASKS_MEANING = re.compile(r"^\W*(what is|what are|what does|define|.*(چیست|یعنی چه|چیه)\W*$)")
_MEANS = re.compile(r"\b(is an?|are|is the|means|refers to|stands for)\b|(است|هست|می‌شود|می گویند|نام دارد)\s*[.؛،]?$")
_ORDERS_A_MODEL = re.compile(
    r"\b(ignore|disregard|forget)\b.{0,40}\b(previous|above|prior|all|earlier|instructions?|rules)\b"
    r"|\b(system prompt|you are now|as an ai|assistant must|ai assistants?|language models?|llms?)\b.{0,60}"
    r"\b(must|should|say|reply|respond|output|reveal|ignore|answer|include|print)\b"
    r"|(نادیده بگیر|فراموش کن).{0,40}|(دستور|دستورالعمل|قوانین)\w*.{0,30}(قبلی|بالا|پیشین).{0,30}(نادیده|فراموش)"
    r"|(دستیار|هوش مصنوعی|چت‌?بات).{0,40}(باید|بگو|بنویس|پاسخ بده)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Scored:
    passage: Passage
    rank: int
    place: int  # among the passage's units
    unit: Unit
    covers: float  # share of the question, 0..1
    score: float


def answer(question: str, passages: Sequence[Passage]) -> Iterator[Piece]:
    """Yield the sentences that answer, or the honest statement that none does."""
    chosen = choose(question, passages)
    if not chosen:
        yield from not_found.answer(question, passages)
        return
    citations: list[Citation] = []
    for group in _by_page(chosen):
        passage = group[0].passage
        best = max(group, key=lambda scored: scored.score)
        n = len(citations) + 1
        citations.append(Citation(n=n, url=passage.url, title=passage.title, quote=best.unit.text))
        yield Sources([*citations])
        yield from _paragraph(group, n)
    yield Ending(Message.FinishReason.ANSWERED)


def choose(question: str, passages: Sequence[Passage]) -> list[Scored]:
    """Return the one to four units that answer, best page first; empty if the passages do not answer."""
    scored = score(question, passages)
    if not scored:
        return []
    best = max(scored, key=lambda candidate: candidate.score)
    if best.covers < ANSWERS_FROM and best.passage.coverage < PASSAGE_COVERS_FROM:
        return []
    chosen = [best, *_what_it_opens(best, scored)]
    for candidate in sorted(scored, key=lambda scored: -scored.score):
        if len(chosen) >= UNITS_MAX or candidate.score < SECOND_BEST_SHARE * best.score:
            break
        if not any(_says_the_same(candidate, other) for other in chosen) and _length(chosen) < CHARS_MAX:
            chosen.append(candidate)
    return chosen


def score(question: str, passages: Sequence[Passage]) -> list[Scored]:
    """Return every quotable unit of the passages with its score."""
    asked = set(words(question))
    units = [(rank, place, passage, unit) for rank, passage in enumerate(passages)
             for place, unit in enumerate(units_of(passage.content))]  # fmt: skip
    found = [Counter(words(unit.text)) for _rank, _place, _passage, unit in units]
    weights = _weights(asked, found)
    whole = sum(weights.values()) or 1.0
    scored = []
    for (rank, place, passage, unit), counts in zip(units, found, strict=True):
        if _ORDERS_A_MODEL.search(unit.text) or not counts:
            continue
        heading = set(words(f"{passage.title} {passage.heading_path}"))
        direct = sum(weight for word, weight in weights.items() if word in counts) / whole
        above = sum(weight for word, weight in weights.items() if word in heading and word not in counts) / whole
        covers = direct + HEADING_SHARE * above
        points = covers + _fits(question, unit) + 0.25 * passage.coverage - 0.03 * rank - 0.002 * place
        scored.append(Scored(passage, rank, place, unit, covers, points if direct or above else points - 0.5))
    return scored


def _weights(asked: set[str], found: Sequence[Counter[str]]) -> dict[str, float]:
    """Return how much each word of the question tells the sentences apart."""
    return {word: math.log(1 + len(found) / (1 + sum(1 for counts in found if word in counts))) for word in asked}


def _fits(question: str, unit: Unit) -> float:
    """Return a bonus if the unit has the form of the answer that the question asks for."""
    asked = normalise(question)
    bonus = 0.0
    if _ASKS_NUMBER.search(asked) and re.search(r"\d", unit.text):
        bonus += 0.15
    if _ASKS_STEPS.search(asked) and (unit.opens or unit.kind == "code"):
        bonus += 0.08
    if _ASKS_MEANING.search(asked) and _MEANS.search(unit.text):
        bonus += 0.12
    if unit.text.endswith(("?", "؟")):
        bonus -= 0.3  # a question does not answer one
    if len(unit.text) < 20:  # noqa: PLR2004 -- a stub such as "See also."
        bonus -= 0.1
    return bonus - (0.05 if unit.kind == "row" else 0.0)


def _what_it_opens(best: Scored, scored: Sequence[Scored]) -> list[Scored]:
    """Return what follows a sentence that ends with a colon: the list items or the code it announces."""
    if not best.unit.opens:
        following = [other for other in scored if other.passage is best.passage and other.place == best.place + 1]
        return [other for other in following if other.unit.kind == "code"]
    after = [other for other in scored if other.passage is best.passage and other.place > best.place]
    taken: list[Scored] = []
    for place, other in enumerate(after, best.place + 1):
        if other.place != place or len(taken) >= UNITS_MAX + 2 or other.unit.kind == "sentence":
            break
        taken.append(other)
        if other.unit.kind == "code":
            break
    return taken or after[:1]


def _says_the_same(one: Scored, other: Scored) -> bool:
    if one.passage.chunk_id == other.passage.chunk_id and one.place == other.place:
        return True
    mine, theirs = set(words(one.unit.text)), set(words(other.unit.text))
    return len(mine & theirs) > 0.7 * min(len(mine), len(theirs))


def _length(chosen: Sequence[Scored]) -> int:
    return sum(len(scored.unit.text) for scored in chosen)


def _by_page(chosen: Sequence[Scored]) -> list[list[Scored]]:
    """Group by page, the page of the best unit first; inside a page as the page goes."""
    pages: dict[str, list[Scored]] = {}
    for scored in chosen:
        pages.setdefault(scored.passage.url, []).append(scored)
    return [sorted(group, key=lambda scored: (scored.rank, scored.place)) for group in pages.values()]


def _paragraph(group: Sequence[Scored], n: int) -> Iterator[Text]:
    """Yield one page's units as Markdown, the citation behind the last sentence before code, or at the end."""
    cited_after = max((i for i, scored in enumerate(group) if scored.unit.kind != "code"), default=0)
    for i, scored in enumerate(group):
        mark = f" [{n}]" if i == cited_after else ""
        yield Text(_as_markdown(scored.unit, mark, is_first=i == 0))
    yield Text("\n\n")


def _as_markdown(unit: Unit, mark: str, *, is_first: bool) -> str:
    match unit.kind:
        case "code":
            return f"\n\n{unit.text}\n\n{mark.strip()}"
        case "item" if not is_first:
            return f"\n- {_quotable(unit.text)}{mark}"
        case "row":
            cells = [cell.strip() for cell in unit.text.strip("| ").split("|")]
            return f"\n- {_quotable(' — '.join(filter(None, cells)))}{mark}"
        case _:
            return f"{'' if is_first else ' '}{_quotable(unit.text)}{mark}"


def _quotable(text: str) -> str:
    """Return one line of Markdown: without images and links, and with no number in brackets of its own."""
    text = re.sub(r"!\[[^\]]*\]\([^)]*\)", "", text)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"\[(\d+)\]", r"\\[\1\\]", text)
    return " ".join(text.split())
