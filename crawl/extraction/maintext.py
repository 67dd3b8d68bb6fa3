"""The main text of a page as Markdown: trafilatura's choice of blocks, or the page's own semantic elements."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import trafilatura
from lxml import etree
from lxml.html import HtmlElement

from crawl.extraction import selectors
from crawl.extraction.hidden import remove_hidden
from crawl.extraction.markdown import render
from crawl.extraction.pages import ParsedPage

ZWNJ = "\u200c"
# trafilatura 2.3 keeps only characters that str.isprintable() accepts, and so deletes every ZWNJ: «می‌شود» would be
# misspelt. A printable stand-in takes its place in the tree (not in the source, where it may be written &zwnj;).
STAND_IN = "\ua78f"
LITTLE_CHARS = 200
_SHARE_EXPECTED = 0.6  # of what the page marks as its content; less, and trafilatura took it for boilerplate
TEXT_MAX_CHARS = 1_000_000
_NODES_MAX = 30_000  # trafilatura's time grows faster than the page; beyond this the plain rendering has to do
_ATTRIBUTES_MAX = 60_000  # likewise its memory: it copies the tree
_COUNTS = [(etree.XPath("count(//*)"), _NODES_MAX), (etree.XPath("count(//@*)"), _ATTRIBUTES_MAX)]
_DIFFERENCE_CHARS = 400
_MARKUP_SHARE = 1.2  # what a rendering adds to the text at most: marks of headings, items and cells
_PERMALINKS = {"¶", "#", "§", "🔗", "Link", "Permalink"}
_HEADINGS_MANY = 5
_SHARE_EXPECTED_WITH_HEADINGS = 0.8
_HEADING = re.compile(r"^#{1,6} ", re.MULTILINE)
_BLANK_LINES = re.compile(r"\n{3,}")
_FENCE = re.compile(r"(```.*?(?:```|\Z))", re.DOTALL)
_ESCAPED = re.compile(r"(?<!^)\\([_*<>\[\]~`])", re.MULTILINE)


@dataclass(frozen=True)
class Extracted:
    content: str  # Markdown
    is_fallback: bool


def extract(page: ParsedPage, *, keep: Sequence[str] = (), drop: Sequence[str] = ()) -> Extracted:
    """Return the page's main text; empty if it has none. Uses the tree up.

    ``keep`` and ``drop`` are CSS selectors: of what is the content, where the page has it, and of what is not.
    """
    tree = page.tree
    remove_hidden(tree)
    for element in selectors.find(tree, drop):
        _take_out(element)
    _remove_permalinks(tree)
    if chosen := selectors.find_outermost(tree, keep):
        return Extracted(_clean("\n\n".join(map(render, chosen))), is_fallback=False)
    marked = _marked_root(tree)
    own = _by_trafilatura(tree)
    if _is_surely_enough(own, tree if marked is None else marked, is_marked=marked is not None):
        return Extracted(_clean(own), is_fallback=False)
    semantic = render(tree if marked is None else marked).replace(STAND_IN, ZWNJ)
    is_better = _lacks(own, semantic, is_marked=marked is not None)
    return Extracted(_clean(semantic if is_better else own), is_fallback=is_better)


def _lacks(own: str, semantic: str, *, is_marked: bool) -> bool:
    """Return whether trafilatura took content for boilerplate, so that the plain rendering serves better."""
    if len(own) < LITTLE_CHARS and len(semantic) > 2 * len(own):
        return True
    if len(_HEADING.findall(semantic)) >= _HEADINGS_MANY and not _HEADING.search(own):
        return len(own) < _SHARE_EXPECTED_WITH_HEADINGS * len(semantic)
    expected = min(_SHARE_EXPECTED * len(semantic), len(semantic) - _DIFFERENCE_CHARS)
    return is_marked and len(own) < expected


def _is_surely_enough(own: str, root: HtmlElement, *, is_marked: bool) -> bool:
    """Return whether `_lacks` would say no to any rendering of ``root``, which takes a sixth of trafilatura's time."""
    if len(own) < LITTLE_CHARS or not _HEADING.search(own):
        return False
    longest = _MARKUP_SHARE * len(" ".join(root.text_content().split())) + LITTLE_CHARS
    return not is_marked or len(own) >= min(_SHARE_EXPECTED * longest, longest - _DIFFERENCE_CHARS)


def _take_out(element: HtmlElement) -> None:
    if element.getparent() is not None:
        element.drop_tree()


def _remove_permalinks(tree: HtmlElement) -> None:
    """Take the ¶ after headings away."""
    for link in list(tree.iter("a")):
        if (link.get("href") or "").startswith("#") and link.text_content().strip() in _PERMALINKS:
            link.drop_tree()


def _by_trafilatura(tree: HtmlElement) -> str:
    """Return trafilatura's Markdown, "" for a page too large for it. Leaves stand-ins for ZWNJ in the tree."""
    text = tree.text_content()
    is_large = any(count(tree) > most for count, most in _COUNTS)  # type: ignore[operator]  # numbers
    if is_large or len(text) > TEXT_MAX_CHARS:
        return ""
    if ZWNJ in text:
        _swap(tree, ZWNJ, STAND_IN)
    markdown = trafilatura.extract(
        tree,
        output_format="markdown",
        include_comments=False,
        include_tables=True,
        include_links=False,
        include_images=False,
        include_formatting=True,
    )
    return _unescape((markdown or "").replace(STAND_IN, ZWNJ))


def _unescape(markdown: str) -> str:
    """Take back escapes outside code: the text is searched and quoted, where «utf8\\_to» would be misspelt."""
    parts = _FENCE.split(markdown)
    return "".join(part if part.startswith("```") else _ESCAPED.sub(r"\1", part) for part in parts)


def _swap(tree: HtmlElement, old: str, new: str) -> None:
    for element in tree.iter(etree.Element):
        if element.text and old in element.text:
            element.text = element.text.replace(old, new)
        if element.tail and old in element.tail:
            element.tail = element.tail.replace(old, new)


def _marked_root(tree: HtmlElement) -> HtmlElement | None:
    """Return the one element that the page itself calls its content, if there is such."""
    for path in ("//main", '//*[@role="main"]', "//article"):
        found = tree.xpath(path)
        if len(found) == 1:
            return found[0]
    return None


def _clean(markdown: str) -> str:
    return _BLANK_LINES.sub("\n\n", markdown).strip()[:TEXT_MAX_CHARS]
