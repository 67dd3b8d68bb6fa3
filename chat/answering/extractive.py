"""Answers without a model: the site's own sentences that answer best, quoted with their page.

A sentence is scored by how much of the question it covers (rare words count more; words of its headings count in
part), by the kind of answer the question asks for, and by the passage it stands in. The order of the passages, made
by the hybrid search, decides between near equals.
"""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from chat.answering import likeness, not_found
from chat.answering.pieces import Citation, Ending, Piece, Sources, Text, cite
from chat.answering.sentences import Unit, units_of
from chat.models import Message
from knowledge.search import Passage
from knowledge.text import normalise, words

MODEL = "extractive"

UNITS_MAX = 4
OPENED_MAX = 6  # list items after a colon
SECOND_BEST_SHARE = 0.75  # a further sentence must come this near to the best one …
OTHER_PAGE_SHARE = 0.9  # … and nearer still if it is of another page
HEADING_SHARE = 0.5  # a question word in the heading above counts half
NEAR_WORD_SHARE = 0.7  # another form of the same word: «بازگردانم» and «بازگردانید», "install" and "installation"
NEAR_WORD_PREFIX = 4
CHARS_MAX = 1500
SUBJECT_CHARS = 24  # where a sentence that defines a word has that word
STUB_CHARS = 22  # "See also."

_ASKS_NUMBER = re.compile(r"\b(how many|how much|how long|how old|what year|when|چند|چقدر|چه سالی|چه زمانی|کی)\b")
_ASKS_STEPS = re.compile(r"\b(how to|how do|how can|how should|چگونه|چطور|چه طور|روش|طریقه)\b")
_ASKS_MEANING = re.compile(r"^\W*(what is|what are|what does|define|.*(چیست|یعنی چه|چیه)\W*$)")
_MEANS = re.compile(r"\b(is an?|are|is the|means|refers to|stands for)\b|(است|هست|می‌شود|می گویند|نام دارد)\s*[.؛،]?$")
_LEANS = re.compile(
    r"(he|she|it|they|this|these|those|that|such|his|her|its|their|however|also|then|thus|therefore)\b"
    r"|(او|وی|آن|آن‌ها|آنها|این|ایشان|همچنین|سپس|بنابراین|همین|چنین)(?![\w\u200c])|آن‌ها|این‌ها|آنان",
    re.IGNORECASE,
)
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
    for n, group in enumerate(_by_quote(chosen), 1):
        citations.append(cite(n, group[0].passage, _quote(group)))
        yield Sources([*citations])
        yield from _paragraph(group, n)
    yield Ending(Message.FinishReason.ANSWERED)


def choose(question: str, passages: Sequence[Passage]) -> list[Scored]:
    """Return the one to four units that answer, best page first; empty if the passages do not answer."""
    scored = score(question, passages)
    able = [candidate for candidate in scored if candidate.unit.kind != "code"]
    if not able:
        return []
    best = max(able, key=lambda candidate: candidate.score)
    if not likeness.may_answer(question, covers=best.covers, best=best.passage, passages=passages):
        return []
    asks_steps = bool(_ASKS_STEPS.search(normalise(question)))
    chosen = [*_what_it_leans_on(best, scored), best, *_what_it_opens(best, scored)]
    for candidate in sorted(able, key=lambda scored: -scored.score):
        share = SECOND_BEST_SHARE if candidate.passage.url == best.passage.url else OTHER_PAGE_SHARE
        if len(chosen) >= UNITS_MAX or candidate.score < SECOND_BEST_SHARE * best.score:
            break
        if candidate.score < share * best.score or any(_says_the_same(candidate, other) for other in chosen):
            continue
        if candidate.unit.opens and not asks_steps:
            continue  # what it announces would lead away from the answer
        if _length(chosen) < CHARS_MAX:
            chosen += [candidate, *_what_it_opens(candidate, scored)]
    return chosen


def score(question: str, passages: Sequence[Passage]) -> list[Scored]:
    """Return every quotable unit of the passages with its score."""
    asked = set(words(question))
    units = [(rank, place, passage, unit) for rank, passage in enumerate(passages)
             for place, unit in enumerate(units_of(passage.content))]  # fmt: skip
    said = [_found(asked, words(unit.text)) for _rank, _place, _passage, unit in units]
    headings = {id(passage): _found(asked, words(f"{passage.title} {passage.heading_path}")) for passage in passages}
    above = [headings[id(passage)] for _rank, _place, passage, _unit in units]
    weights = _weights(asked, said, above)
    whole = sum(weights.values()) or 1.0
    scored = []
    for (rank, place, passage, unit), mine, over in zip(units, said, above, strict=True):
        if _ORDERS_A_MODEL.search(unit.text):
            continue
        covers = (
            sum(
                weight * max(mine.get(word, 0.0), HEADING_SHARE * over.get(word, 0.0))
                for word, weight in weights.items()
            )
            / whole
        )
        points = covers + _fits(question, unit) + 0.25 * passage.coverage - 0.03 * rank - 0.002 * place
        scored.append(Scored(passage, rank, place, unit, covers, points if mine else points - 0.3))
    return scored


def _found(asked: set[str], said: Sequence[str]) -> dict[str, float]:
    """Return the asked words that are said, 1.0 for the word itself, less for another form of it."""
    there = set(said)
    found = dict.fromkeys(asked & there, 1.0)
    for word in asked - there:
        if any(_is_near(word, other) for other in there):
            found[word] = NEAR_WORD_SHARE
    return found


def _is_near(one: str, other: str) -> bool:
    """Tell whether two words begin alike for most of their length."""
    if one[:NEAR_WORD_PREFIX] != other[:NEAR_WORD_PREFIX] or min(len(one), len(other)) < NEAR_WORD_PREFIX:
        return False
    common = next((at for at, (mine, theirs) in enumerate(zip(one, other, strict=False)) if mine != theirs), None)
    return (min(len(one), len(other)) if common is None else common) >= 0.6 * max(len(one), len(other))


def _weights(asked: set[str], said: Sequence[dict[str, float]], above: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return how much each word of the question tells the sentences, with their headings, apart."""
    together = [set(mine) | set(over) for mine, over in zip(said, above, strict=True)]
    return {word: math.log(1 + len(together) / (1 + sum(word in found for found in together))) for word in asked}


def _fits(question: str, unit: Unit) -> float:
    """Return a bonus if the unit has the form of the answer that the question asks for."""
    asked = normalise(question)
    bonus = 0.0
    if _ASKS_NUMBER.search(asked) and re.search(r"\d", unit.text):
        bonus += 0.15
    if _ASKS_STEPS.search(asked) and (unit.opens or unit.kind == "code"):
        bonus += 0.08
    if _ASKS_MEANING.search(asked):
        bonus += 0.12 if _MEANS.search(unit.text) else 0.0
        bonus += 0.15 if set(words(question)) & set(words(unit.text[:SUBJECT_CHARS])) else 0.0
    if unit.text.endswith(("?", "؟")):
        bonus -= 0.3  # a question does not answer one
    if len(unit.text) < STUB_CHARS:
        bonus -= 0.2
    return bonus - (0.05 if unit.kind == "row" else 0.0)


def _what_it_opens(unit: Scored, scored: Sequence[Scored]) -> list[Scored]:
    """Return what a sentence that ends with a colon announces: the list items or the code that follow it."""
    after = [other for other in scored if other.passage is unit.passage and other.place > unit.place]
    if not unit.unit.opens:
        return [other for other in after[:1] if other.unit.kind == "code" and other.place == unit.place + 1]
    taken: list[Scored] = []
    for place, other in enumerate(after, unit.place + 1):
        if other.place != place or len(taken) >= OPENED_MAX or other.unit.kind == "sentence":
            break
        taken.append(other)
        if other.unit.kind == "code":
            break
    return taken or after[:1]


def _what_it_leans_on(unit: Scored, scored: Sequence[Scored]) -> list[Scored]:
    """Return the sentence before one that begins with a pronoun: it says who "he" is."""
    if not _LEANS.match(unit.unit.text):
        return []
    return [
        other
        for other in scored
        if other.passage is unit.passage and other.place == unit.place - 1 and other.unit.kind == "sentence"
    ]


def _says_the_same(one: Scored, other: Scored) -> bool:
    if one.passage.chunk_id == other.passage.chunk_id and one.place == other.place:
        return True
    mine, theirs = set(words(one.unit.text)), set(words(other.unit.text))
    return len(mine & theirs) > 0.7 * min(len(mine), len(theirs))


def _length(chosen: Sequence[Scored]) -> int:
    return sum(len(scored.unit.text) for scored in chosen)


def _by_quote(chosen: Sequence[Scored]) -> list[list[Scored]]:
    """Group the units that follow each other on their page, the page of the best unit first, each page in its order."""
    pages: dict[str, list[Scored]] = {}
    for scored in chosen:
        pages.setdefault(scored.passage.url, []).append(scored)
    groups: list[list[Scored]] = []
    for page in pages.values():
        for scored in sorted(page, key=lambda scored: (scored.rank, scored.place)):
            before = groups[-1][-1] if groups else None
            if before and before.passage is scored.passage and scored.place <= before.place + 1:
                groups[-1].append(scored)
            else:
                groups.append([scored])
    return groups


def _quote(group: Sequence[Scored]) -> str:
    """Return the group as it stands on the page, without the code before or behind it."""
    said = [scored.unit for scored in group if scored.unit.kind != "code"] or [group[0].unit]
    return group[0].passage.content[said[0].start : said[-1].end]


def _paragraph(group: Sequence[Scored], n: int) -> Iterator[Text]:
    """Yield the units as Markdown; the citation stands behind the last one that is not code."""
    cited_after = max((i for i, scored in enumerate(group) if scored.unit.kind != "code"), default=0)
    before = ""
    for i, scored in enumerate(group):
        kind = scored.unit.kind
        mark = ("\n\n" if kind == "code" else " ") + f"[{n}]"
        yield Text(f"{_gap(before, kind)}{_as_markdown(scored.unit)}{mark if i == cited_after else ''}")
        before = kind
    yield Text("\n\n")


def _gap(before: str, kind: str) -> str:
    """Return what stands between two units."""
    if not before:
        return "- " if kind == "row" else ""
    if "code" in (before, kind):
        return "\n\n"
    if kind in ("item", "row"):
        return "\n- " if before in ("item", "row") else "\n\n- "
    return "\n\n" if before in ("item", "row") else " "


def _as_markdown(unit: Unit) -> str:
    if unit.kind == "code":
        return unit.text if unit.text.endswith(("```", "~~~")) else f"{unit.text}\n```"
    if unit.kind == "row":
        return _quotable(" — ".join(filter(None, (cell.strip() for cell in unit.text.strip("| ").split("|")))))
    return _quotable(unit.text)


def _quotable(text: str) -> str:
    """Return one line of Markdown: without images and links, and with no number in brackets of its own."""
    text = re.sub(r"!\[[^\]]*\]\([^)]*\)", "", text)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"\[(\d+)\]", r"\\[\1\\]", text)
    return " ".join(text.split())
