"""Parse a page, and read what it says about itself: title, language, links, and wishes to robots."""

import re
from dataclasses import dataclass, field
from itertools import islice

from lxml import etree
from lxml.html import HtmlElement, HTMLParser, document_fromstring

from crawl.urls import canonicalise

LINKS_MAX = 5000
TAGS_MAX = 250_000  # a source listing of 2 MB has 70,000
TITLE_MAX_CHARS = 500
LOGIN_TEXT_MAX_CHARS = 1500

# Everything XML 1.0 forbids, and the invisible direction overrides that only serve to deceive.
_UNWANTED = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ufdd0-\ufdef\ufffe\uffff\u202a-\u202e\ud800-\udfff]"
)
_REFRESH = re.compile(r"""^\s*(\d{1,5})(?:\.\d*)?\s*[;,]\s*url\s*=\s*['"]?\s*([^'"]+?)\s*['"]?\s*$""", re.IGNORECASE)
_REFRESH_MAX_SECONDS = 10
_AGENTS_MEANT = {"", "pasokhbot", "robots"}
_ARABIC = re.compile("[\u0600-\u06ff]")
_LATIN = re.compile("[A-Za-z]")
_SPACE = re.compile(r"\s+")


@dataclass(frozen=True)
class ParsedPage:
    """A page's tree and its own words on itself; URLs are canonical, None if absent or not fetchable."""

    tree: HtmlElement
    url: str
    title: str
    language: str
    canonical_url: str | None
    refresh_url: str | None
    is_noindex: bool
    is_login: bool
    links: list[str] = field(default_factory=list)


def parse(text: str, *, url: str, robots_tag: str = "") -> ParsedPage | None:
    """Return the parsed page, or None if there is nothing that can be parsed.

    ``robots_tag`` is the X-Robots-Tag header. ``links`` is empty if the page asks not to follow them.
    """
    tree = _tree(text)
    if tree is None:
        return None
    wishes = _wishes(tree, robots_tag)
    base = _base(tree, url)
    return ParsedPage(
        tree=tree,
        url=url,
        title=_title(tree),
        language=_language(tree),
        canonical_url=_canonical(tree, base),
        refresh_url=_refresh(tree, base),
        is_noindex=bool(wishes & {"noindex", "none"}),
        is_login=_is_login(tree),
        links=[] if wishes & {"nofollow", "none"} else _links(tree, base),
    )


def _tree(text: str) -> HtmlElement | None:
    cleaned = _UNWANTED.sub("", _within_bounds(text))
    # No comments and no huge_tree: libxml2 then stops at a depth that no later recursion minds.
    parser = HTMLParser(encoding="utf-8", remove_comments=True, remove_pis=True, huge_tree=False)
    try:
        return document_fromstring(cleaned.encode("utf-8", errors="replace"), parser=parser)
    except (etree.ParserError, etree.XMLSyntaxError, ValueError):
        return None


def _within_bounds(text: str) -> str:
    """Cut a page with more tags than any reader would scroll through: a tree takes 30 times the room of its text."""
    if text.count("<") <= TAGS_MAX:
        return text
    return text[: next(islice(re.finditer("<", text), TAGS_MAX, None)).start()]


def _base(tree: HtmlElement, url: str) -> str:
    for element in tree.iter("base"):
        return canonicalise(element.get("href") or "", url) or url
    return url


def _title(tree: HtmlElement) -> str:
    for tag in ("title", "h1"):
        for element in tree.iter(tag):
            if element.getparent() is not None and element.getparent().tag == "svg":
                continue
            title = _SPACE.sub(" ", element.text_content()).strip()
            if title:
                return title[:TITLE_MAX_CHARS]
    return ""


def _language(tree: HtmlElement) -> str:
    """Return the declared language's first part unless the script contradicts it; "fa" or "en" by script if none."""
    declared = (tree.get("lang") or tree.get("{http://www.w3.org/XML/1998/namespace}lang") or "").strip().lower()
    code = re.split(r"[-_]", declared)[0]
    sample = "".join(_visible(tree, 20_000))
    arabic, latin = len(_ARABIC.findall(sample)), len(_LATIN.findall(sample))
    if arabic > latin:
        return code if code in {"fa", "ar", "ur", "ps", "ckb", "ku"} else "fa"
    if code in {"fa", "ar"} and latin and not arabic:
        return "en"
    return code if re.fullmatch(r"[a-z]{2,3}", code) else "en"


def _visible(tree: HtmlElement, max_chars: int) -> list[str]:
    parts, length = [], 0
    for element in tree.iter(etree.Element):
        if element.tag in {"script", "style", "noscript", "template", "head"}:
            continue
        for part in (element.text, element.tail):
            if part:
                parts.append(part)
                length += len(part)
        if length > max_chars:
            break
    return parts


def _wishes(tree: HtmlElement, robots_tag: str) -> set[str]:
    wishes: set[str] = set()
    for element in tree.iter("meta"):
        if (element.get("name") or "").strip().lower() in _AGENTS_MEANT - {""}:
            wishes |= {word.strip() for word in (element.get("content") or "").lower().split(",")}
    agent = ""
    for part in robots_tag.lower().split(","):
        name, colon, rest = part.partition(":")
        if colon and name.strip() not in {"unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"}:
            agent, part = name.strip(), rest  # noqa: PLW2901 -- "googlebot: noindex, nofollow" is not for us
        if agent in _AGENTS_MEANT:
            wishes.add(part.strip())
    return wishes


def _canonical(tree: HtmlElement, base: str) -> str | None:
    for element in tree.iter("link"):
        if "canonical" in (element.get("rel") or "").lower().split():
            return canonicalise(element.get("href") or "", base)
    return None


def _refresh(tree: HtmlElement, base: str) -> str | None:
    for element in tree.iter("meta"):
        if (element.get("http-equiv") or "").strip().lower() == "refresh":
            match = _REFRESH.match(element.get("content") or "")
            if match and int(match[1]) <= _REFRESH_MAX_SECONDS:
                return canonicalise(match[2], base)
    return None


def _links(tree: HtmlElement, base: str) -> list[str]:
    links: dict[str, None] = {}
    for element in tree.iter("a", "area"):
        href = element.get("href")
        if not href or href.startswith("#") or "nofollow" in (element.get("rel") or "").lower().split():
            continue
        url = canonicalise(href, base)
        if url is not None:
            links[url] = None
        if len(links) >= LINKS_MAX:
            break
    return list(links)


def _is_login(tree: HtmlElement) -> bool:
    has_password = any((element.get("type") or "").lower() == "password" for element in tree.iter("input"))
    return has_password and len(_SPACE.sub(" ", "".join(_visible(tree, 20_000)))) < LOGIN_TEXT_MAX_CHARS
