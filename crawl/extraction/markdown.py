"""Render a part of a page as Markdown, leaving out navigation: the way for pages that trafilatura finds little in."""

import re
from collections.abc import Iterator

from lxml import etree
from lxml.html import HtmlElement

_LEFT_OUT = re.compile(
    r"script|style|noscript|template|nav|header|footer|aside|form|button|select|input|textarea|svg|iframe|object|canvas|"
    r"dialog|menu|head"
)
_HEADINGS = {f"h{level}": "#" * level for level in range(1, 7)}
_BLOCK = re.compile(
    r"h[1-6]|p|div|section|article|main|ul|ol|dl|dt|dd|li|table|thead|tbody|tfoot|tr|blockquote|figure|figcaption|"
    r"address|details|summary|fieldset|center|hr|body|html|caption"
)
_SPACE = re.compile(r"[ \t\r\n\f]+")


def render(root: HtmlElement) -> str:
    """Return headings, paragraphs, list items, table rows and code blocks of ``root`` as Markdown."""
    return "\n\n".join(block for block in _Renderer().blocks(root) if block)


class _Renderer:
    """Walks the tree without recursion (a hostile page may be deep), closing a block at every block element."""

    def __init__(self) -> None:
        self._inline: list[str] = []
        self._prefix = ""

    def blocks(self, root: HtmlElement) -> Iterator[str]:
        skipped: HtmlElement | None = None
        for event, element in etree.iterwalk(root, events=("start", "end")):
            if not isinstance(element.tag, str):
                continue
            if skipped is not None:
                if event == "end" and element is skipped:
                    skipped = None
                    self._add_tail(element, root)
                continue
            if event == "start":
                if _LEFT_OUT.fullmatch(element.tag) or element.tag == "pre":
                    yield self._flush()
                    if element.tag == "pre":
                        yield _code(element)
                    skipped = element
                    continue
                yield from self._open(element)
            else:
                yield from self._close(element, root)
        yield self._flush()

    def _open(self, element: HtmlElement) -> Iterator[str]:
        tag = element.tag
        if _BLOCK.fullmatch(tag):
            yield self._flush()
            self._prefix = _prefix_of(element, self._prefix)
        elif tag == "br":
            self._inline.append("\n")
        elif tag in {"td", "th"}:
            self._inline.append(" | " if "".join(self._inline).strip() else "")
        if element.text:
            self._inline.append(_SPACE.sub(" ", element.text))

    def _close(self, element: HtmlElement, root: HtmlElement) -> Iterator[str]:
        if _BLOCK.fullmatch(element.tag):
            yield self._flush()
            self._prefix = ""
        self._add_tail(element, root)

    def _add_tail(self, element: HtmlElement, root: HtmlElement) -> None:
        if element is not root and element.tail:
            self._inline.append(_SPACE.sub(" ", element.tail))

    def _flush(self) -> str:
        text = "\n".join(line.strip() for line in "".join(self._inline).split("\n")).strip()
        self._inline.clear()
        prefix = self._prefix
        return f"{prefix}{text}" if text else ""


def _prefix_of(element: HtmlElement, current: str) -> str:
    if element.tag in _HEADINGS:
        return f"{_HEADINGS[element.tag]} "
    if element.tag in {"li", "dd"}:
        return "- "
    if element.tag == "blockquote":
        return "> "
    return current if element.tag in {"p", "div"} else ""


def _code(element: HtmlElement) -> str:
    text = "".join(element.itertext()).strip("\n")
    return f"```\n{text}\n```" if text.strip() else ""
