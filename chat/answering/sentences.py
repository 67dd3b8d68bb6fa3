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


def _blocks(content: str) -> Iterator[tuple[int, int, Kind]]:
    """Yield code blocks, table rows, list items and paragraphs as slices."""
    open_block: tuple[int, int, Kind] | None = None
    fence: int | None = None
    for start, end in _lines(content):
        line = content[start:end]
        if fence is not None or _FENCE.match(line):
            if open_block:
                yield open_block
                open_block = None
            if fence is None:
                fence = start
            elif _FENCE.match(line):
                yield fence, end, "code"
                fence = None
            continue
        if not line.strip() or _HEADING.match(line) or _RULE.match(line):
            if open_block:
                yield open_block
                open_block = None
            continue
        if _ROW.match(line) or (item := _ITEM.match(line)):
            if open_block:
                yield open_block
            if _ROW.match(line):
                open_block = None
                yield start, end, "row"
            else:
                assert item  # noqa: S101
                open_block = (start + item.end(), end, "item")
            continue
        open_block = (open_block[0], end, open_block[2]) if open_block else (start, end, "sentence")
    if fence is not None:
        yield fence, len(content), "code"
    if open_block:
        yield open_block


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
