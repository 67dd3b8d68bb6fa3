"""A Markdown passage as units that can be quoted: sentences, list items, table rows, blocks of code.

A unit is a true slice of the passage; headings are no units, since alone they answer nothing.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Kind = Literal["sentence", "item", "row", "code"]

UNIT_MAX_CHARS = 700
_FENCE = re.compile(r"^\s*(```|~~~)")
_HEADING = re.compile(r"^\s*#{1,6}\s")
_ITEM = re.compile(r"^\s*(?:[-*+•–]|\(?[0-9۰-۹٠-٩]{1,3}[.)]|[a-zA-Zآ-ی][.)])\s+")
_ROW = re.compile(r"^\s*\|.*\|\s*$")
_RULE = re.compile(r"^[\s|:*_=-]+$")
_QUOTE_MARK = re.compile(r"^\s*>+\s?")
# A full stop ends a sentence before white space, if what follows can begin one.
_END = re.compile(r"[.!?؟…۔](?:[\"'”’»)\]`*_]{0,3})(?=\s+)")
_ABBREVIATION = re.compile(
    r"(?:\b(?:e\.g|i\.e|etc|vs|cf|Dr|Mr|Mrs|Ms|Prof|St|No|Fig|fig|approx|Inc|Ltd|Jr|Sr|al|resp|ca|pp|vol|U\.S|U\.K|[A-Z])"
    r"|(?:^|[\s(«])[آ-ی](?:\.[آ-ی])*)\.$"
)


@dataclass(frozen=True)
class Unit:
    """``start:end`` is the slice of the passage; ``opens`` says that what follows belongs to it ("Do this:")."""

    text: str
    start: int
    end: int
    kind: Kind

    @property
    def opens(self) -> bool:
        return self.text.rstrip("*_` ").endswith((":", "：")) and self.kind in ("sentence", "item")


def units_of(content: str) -> list[Unit]:
    """Return the passage's units in order."""
    return [unit for start, end, kind in _blocks(content) for unit in _units(content, start, end, kind)]


Block = tuple[int, int, Kind]


def _blocks(content: str) -> Iterator[Block]:
    """Yield code blocks, table rows, list items and paragraphs as slices."""
    text: Block | None = None  # an open paragraph or list item
    for start, end, kind in _pieces(content):
        if kind == "more" and text:
            text = (text[0], end, text[2])
            continue
        if text:
            yield text
        text = None
        if kind == "more":
            text = (start, end, "sentence")
        elif kind == "item":
            text = (start, end, "item")
        elif kind != "break":
            yield start, end, kind
    if text:
        yield text


def _pieces(content: str) -> Iterator[tuple[int, int, Kind | Literal["more", "break"]]]:
    """Yield blocks of code whole and all else line by line; "more" is a line that may go on with the one before."""
    fence: int | None = None  # where an open block of code began
    for start, end in _lines(content):
        line = content[start:end]
        is_fence = bool(_FENCE.match(line))
        if fence is None and is_fence:
            fence = start
        elif fence is not None and is_fence:
            yield fence, end, "code"
            fence = None
        elif fence is None:
            item = _ITEM.match(line)
            yield start + (item.end() if item else 0), end, _kind_of(line)
    if fence is not None:
        yield fence, len(content), "code"


def _kind_of(line: str) -> Literal["row", "item", "more", "break"]:
    if not line.strip() or _HEADING.match(line) or _RULE.match(line):
        return "break"
    if _ROW.match(line):
        return "row"
    return "item" if _ITEM.match(line) else "more"


def _lines(content: str) -> Iterator[tuple[int, int]]:
    position = 0
    for line in content.splitlines(keepends=True):
        yield position, position + len(line.rstrip("\r\n"))
        position += len(line)


def _units(content: str, start: int, end: int, kind: Kind) -> Iterator[Unit]:
    if kind in ("row", "code"):
        yield from _unit(content, start, end, kind)
        return
    if mark := _QUOTE_MARK.match(content[start:end]):
        start += mark.end()
    begin = start
    for match in _END.finditer(content, start, end):
        following = content[match.end() : end].lstrip()[:1]
        if following.islower() or _ABBREVIATION.search(content[begin : match.end()]):
            continue
        yield from _unit(content, begin, match.end(), kind)
        begin = match.end()
    yield from _unit(content, begin, end, kind)


def _unit(content: str, start: int, end: int, kind: Kind) -> Iterator[Unit]:
    text = content[start:end]
    start += len(text) - len(text.lstrip())
    text = text.strip()
    if len(text) > UNIT_MAX_CHARS and kind != "code":
        text = text[: text.rfind(" ", 0, UNIT_MAX_CHARS)].rstrip()
    if re.search(r"\w", text):
        yield Unit(text=text, start=start, end=start + len(text), kind=kind)
