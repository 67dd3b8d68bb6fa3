"""Cut a page's Markdown into passages that stand alone, each knowing the headings it sits under."""

import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass

from django.conf import settings
from semantic_text_splitter import MarkdownSplitter

HEADING_SEPARATOR = " › "
_HEADING = re.compile(r"(#{1,6})[ \t]+(.*?)[ \t#]*$")
_FENCE = re.compile(r" {0,3}(```+|~~~+)")
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")


@dataclass(frozen=True)
class Passage:
    heading_path: str  # "Guide › Install", outermost first
    content: str  # Markdown, without the headings that open it


def split(markdown: str) -> list[Passage]:
    """Return the passages in order, each at most ``KNOWLEDGE_CHUNK_MAX_CHARS`` long.

    Text past ``KNOWLEDGE_DOCUMENT_MAX_CHARS`` is left out: one giant page must not fill a tenant's index.
    """
    limit = settings.KNOWLEDGE_CHUNK_MAX_CHARS
    markdown = markdown[: settings.KNOWLEDGE_DOCUMENT_MAX_CHARS]
    paths = _paths(markdown)
    starts = [start for start, _path in paths]
    passages = []
    for start, text in MarkdownSplitter((limit // 2, limit)).chunk_indices(markdown):
        body = _without_opening_headings(text)
        if body:
            above = bisect_left(starts, start + len(text) - len(body))
            passages.append(Passage(paths[above - 1][1] if above else "", body))
    return passages or _headings_alone(markdown)


def _paths(markdown: str) -> list[tuple[int, str]]:
    """Return (offset of a heading, the path that holds from there), in order."""
    paths = []
    path: list[tuple[int, str]] = []
    for offset, level, text in _headings(markdown):
        path = [(above, name) for above, name in path if above < level] + [(level, text)]
        paths.append((offset, HEADING_SEPARATOR.join(name for _level, name in path if name)))
    return paths


def _headings(markdown: str) -> Iterator[tuple[int, int, str]]:
    """Yield (offset, level, text) of each heading that is not inside a fenced code block."""
    offset, fence = 0, ""
    for line in markdown.splitlines(keepends=True):
        mark = _FENCE.match(line)
        if mark and not fence:
            fence = mark[1]
        elif mark and mark[1].startswith(fence):
            fence = ""
        elif not fence and (heading := _HEADING.match(line.rstrip())):
            yield offset, len(heading[1]), _plain(heading[2])
        offset += len(line)


def _plain(heading: str) -> str:
    """Return a heading as a reader sees it: link texts for links, no emphasis or code marks."""
    return re.sub(r"[*`]|(?<!\w)_|_(?!\w)", "", _LINK.sub(r"\1", heading)).strip(" ¶#\t")


def _without_opening_headings(text: str) -> str:
    lines = text.splitlines(keepends=True)
    while lines and (not lines[0].strip() or _HEADING.match(lines[0].rstrip())):
        lines.pop(0)
    return "".join(lines)


def _headings_alone(markdown: str) -> list[Passage]:
    """A page of headings only is still worth finding: make it one passage."""
    text = markdown.strip()[: settings.KNOWLEDGE_CHUNK_MAX_CHARS]
    return [Passage("", text)] if text else []
