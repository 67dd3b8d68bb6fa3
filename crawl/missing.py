"""What a site answers where it has no page: some say so with a page and status 200 (a "soft 404"), or lead home."""

import re
import secrets
from typing import Any
from urllib.parse import unquote

from django.conf import settings

from core.outbound import Fetched, OutboundError
from core.turns import Turn
from crawl import extraction, fetching, robots
from crawl.urls import Scope, canonicalise

_ALIKE = 0.9  # share of the words of both pages together that both have
_TEXT_MAX_CHARS = 20_000
_WORD = re.compile(r"\w+")
_OK = 200


def probe(turn: Turn, root_url: str, rules: str) -> dict[str, Any]:
    """Ask for a page that cannot exist; return its words, or where it redirects, or nothing if the site says 404.

    Raises:
        NotYetError: as `fetching.ask`.
    """
    url = canonicalise(secrets.token_hex(8), Scope(root_url).folder_url)
    if url is None or not robots.is_allowed(rules, url):
        return {}
    try:
        answer = fetching.ask(
            turn,
            fetching.Request(url, settings.CRAWL_PAGE_MAX_BYTES, max_redirects=0, truncate=True),
            delay_seconds=robots.delay_seconds(rules),
        )
    except OutboundError:
        return {}
    if answer.redirect_url is not None:
        return {"goal": canonicalise(answer.redirect_url)}
    return {"words": sorted(_words_of(answer) - _words(url))} if answer.status == _OK else {}


def is_where_missing_pages_lead(missing: dict[str, Any] | None, goal: str | None) -> bool:
    return bool(missing and goal and missing.get("goal") == goal)


def is_like_missing_pages(missing: dict[str, Any] | None, text: str, *, url: str) -> bool:
    """Return whether the text has nearly the words of the answer to an address that does not exist.

    Those of the page's address do not count: such answers like to repeat it.
    """
    theirs = set(missing.get("words", ())) if missing else set()
    if not theirs:
        return False
    mine = _words(text) - (_words(unquote(url)) - theirs)
    return len(mine & theirs) >= _ALIKE * len(mine | theirs)


def _words_of(answer: Fetched) -> set[str]:
    text = extraction.decode(answer.body, answer.headers.get("content-type", ""))
    page = extraction.parse(text, url=answer.url)
    return _words(f"{page.title}\n{extraction.extract(page).content}") if page else set()


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text[:_TEXT_MAX_CHARS].casefold()))
