"""The text of a DOCX as Markdown. Runs in the reading process alone."""

import re
import time
import zipfile
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import docx
from docx.opc.exceptions import OpcError
from docx.table import Table
from docx.text.paragraph import Paragraph

from knowledge.files.outcome import Limits, Outcome

UNPACKED_MAX_BYTES = 100_000_000
_HEADING = re.compile(r"heading ([1-6])", re.IGNORECASE)


def read(data: bytes, limits: Limits) -> Outcome:
    """Return headings, paragraphs, list items and table rows in their order, as far as the limits allow."""
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            if sum(part.file_size for part in archive.infolist()) > UNPACKED_MAX_BYTES:
                return Outcome(error="too_large")
        document = docx.Document(BytesIO(data))
        blocks, is_cut = _within(_blocks(document), limits)
        title = document.core_properties.title or ""
    except (zipfile.BadZipFile, OpcError, ValueError, KeyError, AttributeError, TypeError, SyntaxError) as exc:
        return Outcome(error="damaged", detail=type(exc).__name__)
    return Outcome(content="\n\n".join(blocks), title=title.strip(), detail="its beginning" if is_cut else "")


def _within(blocks: Iterator[str], limits: Limits) -> tuple[list[str], bool]:
    taken: list[str] = []
    length = 0
    for block in blocks:
        if length > limits.chars or time.monotonic() > limits.ends_at:
            return taken, True
        taken.append(block)
        length += len(block)
    return taken, False


def _blocks(document: Any) -> Iterator[str]:
    for block in document.iter_inner_content():
        text = _rows(block) if isinstance(block, Table) else _marked(block)
        if text:
            yield text


def _marked(paragraph: Paragraph) -> str:
    text = paragraph.text.strip()
    style = (paragraph.style.name if paragraph.style else "") or ""
    heading = _HEADING.fullmatch(style)
    if not text:
        return ""
    if heading or style == "Title":
        return f"{'#' * int(heading[1] if heading else 1)} {' '.join(text.split())}"
    properties = paragraph._p.pPr
    is_item = style.startswith("List") or (properties is not None and properties.numPr is not None)
    return f"- {text}" if is_item else text


def _rows(table: Table) -> str:
    """Return a line for each row; a cell that reaches over several columns is named once."""
    lines = []
    for row in table.rows:
        texts = {cell._tc: " ".join(cell.text.split()) for cell in row.cells}
        lines.append(" | ".join(filter(None, texts.values())))
    return "\n".join(line for line in lines if line)
