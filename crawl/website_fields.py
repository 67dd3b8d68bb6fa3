"""What a website may be told: its address, patterns, selectors and limits, checked before they are stored."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from django.conf import settings

from core.outbound import OutboundError, parse_target
from crawl.errors import RenderingNotOfferedError, WebsiteInvalidError
from crawl.extraction.selectors import compiled
from crawl.rendering import usable
from crawl.urls import canonicalise

PATTERNS_MAX = 50
PATTERN_MAX_CHARS = 500
SELECTORS_MAX = 20
SELECTOR_MAX_CHARS = 200
HOURS_MAX = 24 * 366
DEPTH_MAX = 100


def checked(given: dict[str, Any]) -> dict[str, Any]:
    """Return the columns for what is given, in the words of `add_website`."""
    checks: dict[str, Callable[[Any], Any]] = {
        "name": lambda name: name[:200],
        "include": partial(_patterns, pointer="/include"),
        "exclude": partial(_patterns, pointer="/exclude"),
        "content": partial(_selectors, pointer="/content"),
        "leave_out": partial(_selectors, pointer="/leave_out"),
        "renders_javascript": _offered,
        "crawl_every_hours": partial(_within, most=HOURS_MAX, what="hour", pointer="/crawl_every_hours"),
        "max_pages": partial(_within, most=settings.CRAWL_MAX_PAGES, what="page", pointer="/max_pages"),
        "max_depth": partial(_within, most=DEPTH_MAX, what="depth", pointer="/max_depth"),
    }
    columns = {
        "include": "include_patterns",
        "exclude": "exclude_patterns",
        "content": "content_selectors",
        "leave_out": "exclude_selectors",
    }
    return {columns.get(word, word): checks[word](value) for word, value in given.items()}


def root_url(url: str) -> str:
    text = url.strip()
    if text and "://" not in text:
        text = f"https://{text}"
    try:
        parse_target(text)
    except OutboundError as exc:
        raise WebsiteInvalidError(str(exc), pointer="/url") from exc
    url_in_one_form = canonicalise(text)
    if url_in_one_form is None:
        raise WebsiteInvalidError("The URL cannot be used as the start of a crawl.", pointer="/url")
    return url_in_one_form


def _patterns(patterns: Sequence[str], pointer: str) -> list[str]:
    if len(patterns) > PATTERNS_MAX or any(len(pattern) > PATTERN_MAX_CHARS for pattern in patterns):
        raise WebsiteInvalidError(
            f"At most {PATTERNS_MAX} patterns of {PATTERN_MAX_CHARS} characters are accepted.", pointer=pointer
        )
    if any(not pattern.startswith(("/", "*")) for pattern in patterns):
        raise WebsiteInvalidError(
            "A pattern is a path such as /docs/* and starts with a slash or an asterisk.", pointer=pointer
        )
    return list(patterns)


def _selectors(selectors: Sequence[str], pointer: str) -> list[str]:
    if len(selectors) > SELECTORS_MAX or any(len(selector) > SELECTOR_MAX_CHARS for selector in selectors):
        raise WebsiteInvalidError(
            f"At most {SELECTORS_MAX} selectors of {SELECTOR_MAX_CHARS} characters are accepted.", pointer=pointer
        )
    for selector in selectors:
        try:
            compiled(selector)
        except ValueError as exc:
            raise WebsiteInvalidError(f"“{selector}” is not a CSS selector that can be used.", pointer=pointer) from exc
    return list(selectors)


def _offered(is_wanted: bool) -> bool:
    if is_wanted and not usable.is_offered():
        raise RenderingNotOfferedError(
            "Rendering is not switched on in this installation; its operator can do that (CRAWL_RENDERER).",
            pointer="/renders_javascript",
        )
    return is_wanted


def _within(value: int | None, most: int, what: str, pointer: str) -> int | None:
    if value is not None and not 1 <= value <= most:
        raise WebsiteInvalidError(f"The {what} limit has to be between 1 and {most}.", pointer=pointer)
    return value
