"""Checking a model's citations while its text streams.

``[3]`` becomes the number of its first use if passage 3 exists, and vanishes if it does not; Persian digits, lists
(``[1, 2]``) and ``【1】`` count too. A bracket is held back until it closes, so one split over two chunks is never
shown half; so are the spaces before it, which vanish with it. Links and images lose their address: a page
could have dictated it.
"""

import re
from collections.abc import Sequence

from chat.answering.pieces import Citation, cite
from chat.answering.sentences import Unit, units_of
from knowledge.search import Passage
from knowledge.text import words

HELD_MAX_CHARS = 400

_OPEN = re.compile(r"!?[\[【]|!$")
_NUMBERS = re.compile(r"[\[【]\s*(\d{1,3}(?:\s*[,،;و&-]\s*\d{1,3})*)\s*[\]】]")
_LINK = re.compile(r"!?\[([^\[\]]*)\]\([^()\s]*(?:\s+[^()]*)?\)")
_MARKED = re.compile(r"\[(\d+)\]")
_SENTENCE_END = re.compile(r"[.!?؟\n]")


class Citing:
    """Turns a model's text into what may be shown; keeps the citations it uses."""

    def __init__(self, passages: Sequence[Passage]) -> None:
        self._passages = passages
        self._numbers: dict[int, int] = {}  # passage number -> shown number
        self._quotes: dict[int, str] = {}
        self._held = ""
        self._gap = ""  # spaces: what follows decides whether they are shown
        self._shown = ""
        self.has_news = False

    def feed(self, text: str) -> str:
        """Take more of the model's text and return what may be shown of it."""
        self._held += text
        return self._show(is_end=False)

    def end(self) -> str:
        """Return what was held back when the model is done."""
        return self._show(is_end=True)

    def citations(self) -> list[Citation]:
        """Return the citations so far, in the order of their numbers."""
        self.has_news = False
        return [
            cite(shown, self._passages[number - 1], self._quotes[number]) for number, shown in self._numbers.items()
        ]

    def _show(self, *, is_end: bool) -> str:
        out = ""
        while match := _OPEN.search(self._held):
            out += self._take(match.start())
            piece = self._bracket(is_end=is_end)
            if piece is None:
                break
            raw, shown = piece
            self._held = self._held[len(raw) :]
            if not shown and _NUMBERS.fullmatch(raw):
                self._gap = ""  # nothing cited: no gap before the full stop
            out += self._behind_gap(shown)
        else:
            out += self._take(len(self._held))
        return out + self._gap if is_end else out

    def _take(self, count: int) -> str:
        text, self._held = self._held[:count], self._held[count:]
        return self._behind_gap(text)

    def _behind_gap(self, text: str) -> str:
        """Return the text after the spaces held back so far; hold back those at its end."""
        text = self._gap + text
        shown = text.rstrip(" ")
        self._gap = text[len(shown) :]
        self._shown += shown
        return shown

    def _bracket(self, *, is_end: bool) -> tuple[str, str] | None:
        """Return the bracket at the start of what is held, as it came and as it is shown; None while it is open."""
        held = self._held
        if match := _NUMBERS.match(held):
            return match[0], self._cite(match[1])
        if match := _LINK.match(held):
            return match[0], "" if match[0].startswith("!") else match[1]
        close = held.find("]")
        is_link = close != -1 and held[close + 1 : close + 2] == "("
        is_complete = close != -1 and close + 1 < len(held) and not is_link
        if is_end or is_complete or len(held) > HELD_MAX_CHARS:
            return self._plain(is_link=is_link)
        return None

    def _plain(self, *, is_link: bool) -> tuple[str, str]:
        """Return a bracket that is none of ours; half a link at the end loses its address."""
        if is_link:
            label = self._held[: self._held.find("]")].lstrip("![")
            return self._held, label
        first = self._held[:2] if self._held.startswith("![") else self._held[:1]
        if re.fullmatch(r"[\[【]\s*\d*\s*", self._held):
            return self._held, ""  # the model broke off inside a citation
        return first, first.lstrip("!") if first == "![" else first

    def _cite(self, listed: str) -> str:
        marks = ""
        for number in dict.fromkeys(int(found) for found in re.findall(r"\d+", listed)):
            if not 1 <= number <= len(self._passages):
                continue
            if number not in self._numbers:
                self._numbers[number] = len(self._numbers) + 1
                self._quotes[number] = quote_for(self._statement(), self._passages[number - 1])
                self.has_news = True
            marks += f"[{self._numbers[number]}]"
        return marks

    def _statement(self) -> str:
        """Return the sentence that the citation stands behind."""
        text = _MARKED.sub("", self._shown[-600:]).rstrip(" .!?؟\n")
        ends = list(_SENTENCE_END.finditer(text))
        return text[ends[-1].end() :] if ends else text


def quote_for(statement: str, passage: Passage) -> str:
    """Return the passage's unit that shares most words with the statement: a true part of the page."""
    units = units_of(passage.content)
    if not units:
        return passage.content[:200]
    stated = set(words(statement))

    def support(unit: Unit) -> float:
        said = set(words(unit.text))
        return len(stated & said) / (1 + 0.3 * len(said)) if said else 0.0

    return max(units, key=support).text
