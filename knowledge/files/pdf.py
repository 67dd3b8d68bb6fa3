"""The text of a PDF, page by page. Runs in the reading process alone."""

import re
import time
from collections.abc import Iterator
from io import BytesIO
from typing import Any

from pypdf import PageObject, PdfReader
from pypdf.errors import DependencyError, PyPdfError

from knowledge.files import visual
from knowledge.files.outcome import Limits, Outcome

_FULL_LINE = 0.7  # of the longest line: a shorter one ends its paragraph
_SENTENCE_ENDS = (".", "!", "?", "؟", ":", "؛")
_TITLE_OF_PROGRAM = re.compile(r"microsoft word|untitled|\.(?:docx?|indd|tex|odt)\s*$", re.IGNORECASE)
_PERSIAN_DIGITS = str.maketrans("0123456789", "۰۱۲۳۴۵۶۷۸۹")


def read(data: bytes, limits: Limits) -> Outcome:
    """Return the text under a heading for each page, as far as the limits allow."""
    try:
        reader = PdfReader(BytesIO(data))
        if reader.is_encrypted and not reader.decrypt(""):
            return Outcome(error="encrypted")
        page_count = len(reader.pages)
        pages = list(_texts(reader, min(page_count, limits.pages), limits))
        title = str(reader.metadata.title or "").strip() if reader.metadata else ""
    except DependencyError:  # a cipher that only an optional package knows
        return Outcome(error="encrypted")
    except (PyPdfError, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as exc:
        return Outcome(error="damaged", detail=type(exc).__name__)
    content = "\n\n".join(_under_heading(number, text, page_count) for number, text in enumerate(pages, 1) if text)
    is_cut = len(pages) < page_count
    return Outcome(
        content=content,
        title="" if _TITLE_OF_PROGRAM.search(title) else title,
        detail=f"{len(pages)} of {page_count} pages" if is_cut else "",
    )


def _texts(reader: PdfReader, count: int, limits: Limits) -> Iterator[str]:
    by_position, length = False, 0
    for number in range(count):
        if time.monotonic() > limits.ends_at or length > limits.chars:
            return
        page = reader.pages[number]
        text = _by_position(page) if by_position else page.extract_text()
        if visual.has_right_to_left(text) and not by_position:
            text = _by_position(page)
        by_position = visual.has_right_to_left(text)  # the next page is likely to be as this one
        length += len(text)
        yield _paragraphs(text)


def _by_position(page: PageObject) -> str:
    """Return the page's lines as they are read from the right, whatever order the file has them in."""
    find_fonts = page._layout_mode_fonts

    def fonts() -> dict[str, Any]:
        found = find_fonts()
        for font in found.values():
            font.character_map = {code: visual.as_glyph(text) for code, text in font.character_map.items()}
        return found

    page._layout_mode_fonts = fonts  # type: ignore[method-assign]
    return visual.logical(page.extract_text(extraction_mode="layout"))


def _paragraphs(text: str) -> str:
    """Join the lines that a page's width has broken."""
    lines = [line.strip() for line in text.splitlines()]
    full = _FULL_LINE * max(map(len, lines), default=0)
    joined: list[str] = []
    goes_on = False
    for line in lines:
        if goes_on and line:
            before = joined.pop()
            is_hyphenated = before.endswith("-") and line[:1].islower()
            joined.append(before[:-1] + line if is_hyphenated else f"{before} {line}")
        else:
            joined.append(line)
        goes_on = bool(line) and len(line) >= full and not line.endswith(_SENTENCE_ENDS)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(joined)).strip()


def _under_heading(number: int, text: str, page_count: int) -> str:
    if page_count == 1:
        return text
    is_persian = visual.has_right_to_left(text)
    return (
        f"## صفحهٔ {str(number).translate(_PERSIAN_DIGITS)}\n\n{text}" if is_persian else f"## Page {number}\n\n{text}"
    )
