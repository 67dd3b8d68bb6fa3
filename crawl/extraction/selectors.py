"""The CSS selectors by which a tenant says what is content on a website's pages."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from cssselect import SelectorError
from lxml.cssselect import CSSSelector
from lxml.etree import XPathError
from lxml.html import HtmlElement


@lru_cache(maxsize=256)
def compiled(selector: str) -> CSSSelector:
    """Return the selector, ready to be used.

    Raises:
        ValueError: if it cannot be understood.
    """
    try:
        return CSSSelector(selector, translator="html")
    except (SelectorError, XPathError, RecursionError) as exc:
        raise ValueError(f"Not a CSS selector: {selector}") from exc


def find(tree: HtmlElement, selectors: Sequence[str]) -> list[HtmlElement]:
    """Return what any of the selectors matches, once each, in the order of the selectors."""
    found: dict[HtmlElement, None] = {}
    for selector in selectors:
        matches: Any = compiled(selector)(tree)
        found |= dict.fromkeys(matches)
    return list(found)


def find_outermost(tree: HtmlElement, selectors: Sequence[str]) -> list[HtmlElement]:
    """Return what any of the selectors matches and is not inside another match, in the order of the page."""
    found = set(find(tree, selectors))
    return [element for element in tree.iter() if element in found and found.isdisjoint(element.iterancestors())]
