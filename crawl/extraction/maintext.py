"""The main text of a page as Markdown: trafilatura's choice of blocks, or the page's own semantic elements."""

import re
from copy import deepcopy
from dataclasses import dataclass

import trafilatura
from lxml import etree
from lxml.html import HtmlElement

from crawl.extraction.markdown import render
from crawl.extraction.pages import ParsedPage

ZWNJ = "\u200c"
# trafilatura 2.3 keeps only characters that str.isprintable() accepts, and so deletes every ZWNJ: «می‌شود» would be
# misspelt. A printable stand-in takes its place in the tree (not in the source, where it may be written &zwnj;).
STAND_IN = "\ua78f"
LITTLE_CHARS = 200
TEXT_MAX_CHARS = 1_000_000
_NODES_MAX = 60_000  # trafilatura's time grows faster than the page; beyond this the plain rendering has to do
_BLANK_LINES = re.compile(r"\n{3,}")


@dataclass(frozen=True)
class Extracted:
    content: str  # Markdown
    is_fallback: bool


def extract(page: ParsedPage) -> Extracted:
    """Return the page's main text; empty if it has none."""
    own = ""
    if sum(1 for _element in page.tree.iter()) <= _NODES_MAX:
        own = _by_trafilatura(page.tree)
    if len(own) >= LITTLE_CHARS:
        return Extracted(_clean(own), is_fallback=False)
    semantic = render(_semantic_root(page.tree))
    if len(semantic) > 2 * len(own):
        return Extracted(_clean(semantic), is_fallback=True)
    return Extracted(_clean(own), is_fallback=False)


def _by_trafilatura(tree: HtmlElement) -> str:
    copy = deepcopy(tree)
    _swap(copy, ZWNJ, STAND_IN)
    markdown = trafilatura.extract(
        copy,
        output_format="markdown",
        include_comments=False,
        include_tables=True,
        include_links=False,
        include_images=False,
        include_formatting=True,
        favor_recall=False,
    )
    return (markdown or "").replace(STAND_IN, ZWNJ)


def _swap(tree: HtmlElement, old: str, new: str) -> None:
    for element in tree.iter(etree.Element):
        if element.text and old in element.text:
            element.text = element.text.replace(old, new)
        if element.tail and old in element.tail:
            element.tail = element.tail.replace(old, new)


def _semantic_root(tree: HtmlElement) -> HtmlElement:
    for path in ("//main", '//*[@role="main"]', "//article"):
        found = tree.xpath(path)
        if len(found) == 1:
            return found[0]
    body = tree.find("body")
    return tree if body is None else body


def _clean(markdown: str) -> str:
    return _BLANK_LINES.sub("\n\n", markdown).strip()[:TEXT_MAX_CHARS]
