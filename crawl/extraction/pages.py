"""Parse a page, and read what it says about itself: title, language, links, and wishes to robots."""

import re
from dataclasses import dataclass, field, replace
from itertools import islice

from lxml import etree
from lxml.html import HtmlElement, HTMLParser, document_fromstring

from crawl.urls import canonicalise

LINKS_MAX = 5000
PARTS_MAX = 150_000  # tags and attributes; a source listing of 2 MB has 117,000
PARTS_COUNTED_FROM_CHARS = 500_000  # no page shorter than that takes more than 40 MB
TITLE_MAX_CHARS = 500
LOGIN_TEXT_MAX_CHARS = 1500
CHALLENGE_TEXT_MAX_CHARS = 600
SHELL_TEXT_MAX_CHARS = 200  # what a page that is built by scripts says without them: "Loading …", "Enable JavaScript"
ALTERNATES_MAX = 200
_VISIBLE_MAX_CHARS = 20_000

# lxml.html asks a Python function for the class of each element that is touched, millions in a crawl; one class does.
_ALL_ALIKE = etree.ElementDefaultClassLookup(element=HtmlElement)
# Everything XML 1.0 forbids; direction overrides; and what nobody sees and only splits or smuggles words (soft hyphens,
# zero-width spaces and joiners of words, tags). ZWNJ and ZWJ stay: Persian needs them.
_UNWANTED = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\xad\u200b\u202a-\u202e\u2060-\u206f\ufdd0-\ufdef\ufeff\ufffe\uffff"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
_REFRESH = re.compile(r"""^\s*(\d{1,5})(?:\.\d*)?\s*[;,]\s*url\s*=\s*['"]?\s*([^'"]+?)\s*['"]?\s*$""", re.IGNORECASE)
_REFRESH_MAX_SECONDS = 10
_AGENTS_MEANT = {"", "pasokhbot", "robots"}
_NOT_INDEXED = {"noindex", "none"}
_ARABIC = re.compile("[\u0600-\u06ff]")
_LATIN = re.compile("[A-Za-z]")
_SPACE = re.compile(r"\s+")
_TAG = re.compile(r"<[^<>]*")
_MOUNT_POINTS = {"root", "app", "__next", "__nuxt", "___gatsby", "q-app", "app-root", "react-root", "main-app"}
_UNSEEN = {"script", "style", "noscript", "template", "head", "title"}
_SCRIPTS_MISSED = re.compile(
    r"(?:enable|requires?|needs?|turn on|without|فعال|نیاز)[^.]{0,40}(?:javascript|جاوا.?اسکریپت)|"
    r"(?:javascript|جاوا.?اسکریپت)[^.]{0,40}(?:enable|required|disabled|turned off|needed|فعال|نیاز)",
    re.IGNORECASE,
)
_CHALLENGE = re.compile(
    "captcha|not a robot|(?:are|you're) (?:a )?human|unusual traffic|checking your browser|کپچا|ربات نیستم",
    re.IGNORECASE,
)
_CHALLENGE_LINKS_MAX = 5  # a page that writes about captchas has a menu


@dataclass(frozen=True)
class ParsedPage:
    """A page's tree and its own words on itself; URLs are canonical, None if absent or not fetchable.

    ``alternates`` are the URLs of the page in its languages (hreflang), its own among them where it says so.
    """

    tree: HtmlElement
    url: str
    title: str
    language: str
    canonical_url: str | None
    refresh_url: str | None
    is_noindex: bool
    is_login: bool
    is_challenge: bool  # asks the visitor to prove to be human
    needs_javascript: bool
    alternates: frozenset[str] = frozenset()
    links: list[str] = field(default_factory=list)

    def without_tree(self) -> "ParsedPage":
        """Return the page without what takes thirty times the room of its text."""
        return replace(self, tree=HtmlElement())


def parse(text: str, *, url: str, robots_tag: str = "", is_rendered: bool = False) -> ParsedPage | None:
    """Return the parsed page, or None if there is nothing that can be parsed.

    ``robots_tag`` is the X-Robots-Tag header; ``is_rendered`` says that scripts have done what they can. ``links`` is
    empty if the page asks not to follow them.
    """
    tree = _tree(text)
    if tree is None:
        return None
    if is_rendered:
        etree.strip_elements(tree, "noscript", with_tail=False)
    wishes = _wishes(tree, robots_tag)
    base = _base(tree, url)
    title, visible = _title(tree), _visible(tree)
    alternates = _alternates(tree, base)
    return ParsedPage(
        tree=tree,
        url=url,
        title=title,
        language=_language(tree, f"{title} {visible}"),
        canonical_url=_canonical(tree, base),
        refresh_url=_refresh(tree, base),
        is_noindex=bool(wishes & _NOT_INDEXED),
        is_login=len(visible) < LOGIN_TEXT_MAX_CHARS and _has_password(tree),
        is_challenge=len(visible) < CHALLENGE_TEXT_MAX_CHARS and _is_challenge(tree, visible),
        needs_javascript=not is_rendered and len(visible) < SHELL_TEXT_MAX_CHARS and _is_shell(tree, visible),
        alternates=alternates,
        links=[] if wishes & {"nofollow", "none"} else list(dict.fromkeys([*_links(tree, base), *sorted(alternates)])),
    )


def asks_not_to_be_indexed(robots_tag: str) -> bool:
    """Return what the X-Robots-Tag header says of a document that has no elements of its own for it."""
    return bool(_header_wishes(robots_tag) & _NOT_INDEXED)


def _tree(text: str) -> HtmlElement | None:
    cleaned = _UNWANTED.sub("", _within_bounds(text))
    # No comments and no huge_tree: libxml2 then stops at a depth that no later recursion minds.
    parser = HTMLParser(encoding="utf-8", remove_comments=True, remove_pis=True, huge_tree=False)
    parser.set_element_class_lookup(_ALL_ALIKE)
    try:
        return document_fromstring(cleaned.encode("utf-8", errors="replace"), parser=parser)
    except (etree.ParserError, etree.XMLSyntaxError, ValueError):
        return None


def _within_bounds(text: str) -> str:
    """Cut a page of more tags and attributes than any reader would scroll through: each takes 250 bytes in a tree."""
    if len(text) <= PARTS_COUNTED_FROM_CHARS:
        return text
    parts = 0
    for tag in _TAG.finditer(text):
        parts += max(len(tag[0].split()), tag[0].count("=") + 1)
        if parts > PARTS_MAX:
            return text[: tag.start()]
    return text


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


def _language(tree: HtmlElement, sample: str) -> str:
    """Return the declared language's first part unless the script contradicts it; "fa" or "en" by script if none."""
    declared = (tree.get("lang") or tree.get("{http://www.w3.org/XML/1998/namespace}lang") or "").strip().lower()
    code = re.split(r"[-_]", declared)[0]
    arabic, latin = len(_ARABIC.findall(sample)), len(_LATIN.findall(sample))
    if arabic > latin:
        return code if code in {"fa", "ar", "ur", "ps", "ckb", "ku"} else "fa"
    if code in {"fa", "ar"} and latin and not arabic:
        return "en"
    return code if re.fullmatch(r"[a-z]{2,3}", code) else "en"


def _visible(tree: HtmlElement) -> str:
    """Return the beginning of what a reader sees of the page, menus included."""
    parts, length = [], 0
    for element in tree.iter(etree.Element):
        for part in (element.tail,) if element.tag in _UNSEEN else (element.text, element.tail):
            if part:
                parts.append(part[:_VISIBLE_MAX_CHARS])  # a page may be a single text of megabytes
                length += len(part)
        if length > _VISIBLE_MAX_CHARS:
            break
    return _SPACE.sub(" ", "".join(parts)).strip()


def _wishes(tree: HtmlElement, robots_tag: str) -> set[str]:
    wishes: set[str] = set()
    for element in tree.iter("meta"):
        if (element.get("name") or "").strip().lower() in _AGENTS_MEANT - {""}:
            wishes |= {word.strip() for word in (element.get("content") or "").lower().split(",")}
    return wishes | _header_wishes(robots_tag)


def _header_wishes(robots_tag: str) -> set[str]:
    wishes: set[str] = set()
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


def _alternates(tree: HtmlElement, base: str) -> frozenset[str]:
    """Return the URLs that the page names as itself in one language each."""
    found = [
        canonicalise(element.get("href") or "", base)
        for element in islice(tree.iter("link"), LINKS_MAX)
        if element.get("hreflang") and "alternate" in (element.get("rel") or "").lower().split()
    ]
    return frozenset(url for url in found[:ALTERNATES_MAX] if url is not None)


def _has_password(tree: HtmlElement) -> bool:
    return any((element.get("type") or "").lower() == "password" for element in tree.iter("input"))


def _is_challenge(tree: HtmlElement, visible: str) -> bool:
    links = sum(1 for _link in tree.iter("a"))
    return links <= _CHALLENGE_LINKS_MAX and _CHALLENGE.search(visible) is not None


def _is_shell(tree: HtmlElement, visible: str) -> bool:
    """Return whether scripts would have to fill a page that says next to nothing without them."""
    if not any(True for _script in tree.iter("script")):
        return False
    if not visible or _SCRIPTS_MISSED.search(visible):
        return True
    if any(_SCRIPTS_MISSED.search(element.text_content()) for element in tree.iter("noscript")):
        return True
    return any(
        (element.get("id") or element.tag) in _MOUNT_POINTS and not element.text_content().strip()
        for element in tree.iter("div", "main", "app-root")
    )
