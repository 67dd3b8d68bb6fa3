"""The one way from an answer's Markdown to HTML: for the page, the stream, the history and the widget alike.

An answer is untrusted: a crawled page or a model wrote it. So there is no raw HTML and no image, links lead only to
hosts that were cited, characters that reorder text are dropped, and an allow-list cleans what was rendered.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache
from html import escape
from typing import Any
from urllib.parse import urlsplit

import nh3
from django.utils.safestring import SafeString, mark_safe
from markdown_it import MarkdownIt
from markdown_it.token import Token

MAX_CHARS = 40_000
TITLE_MAX_CHARS = 120
_PERSIAN_DIGITS = str.maketrans("0123456789", "۰۱۲۳۴۵۶۷۸۹")
_NUMBERS = re.compile(r"\[(\d{1,3}(?:\s*[,،]\s*\d{1,3})*)\]")

# Reorder, hide or smuggle text: bidi embeddings, overrides and isolates, tags, interlinear marks, controls.
# ZWNJ, ZWJ, LRM and RLM stay: Persian needs them.
_UNWANTED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f\ud800-\udfff]"
)

_CONTAINERS = {"bullet_list_open", "ordered_list_open", "table_open", "blockquote_open"}
_CELLS = {"list_item_open", "td_open", "th_open"}
_BLOCKS = {"paragraph_open", "heading_open"} | _CONTAINERS

_TAGS = {"p", "h3", "h4", "h5", "h6", "ul", "ol", "li", "blockquote", "pre", "code", "em", "strong", "s", "br", "hr"}
_TAGS |= {"sup", "bdi", "table", "thead", "tbody", "tr", "th", "td", "a", "button"}
_ATTRIBUTES = {
    **{tag: {"dir"} for tag in ("p", "h3", "h4", "h5", "h6", "ul", "blockquote", "table", "bdi", "code")},
    "ol": {"dir", "start"},
    "pre": {"dir", "tabindex"},
    "a": {"href"},
    "button": {"type", "class", "data-n", "aria-label"},
}


def render_answer(markdown: str, citations: Sequence[dict[str, Any]]) -> SafeString:
    """Return the answer as inert HTML: every block with its direction, every valid ``[n]`` as a button.

    ``citations``: ``[{n, url, title, quote}]``; a number that is not among them stays plain text. The Markdown may
    be unfinished, as it is while an answer streams in.
    """
    parser = _parser()
    tokens = parser.parse(_UNWANTED.sub("", markdown[:MAX_CHARS]))
    hosts = {host for citation in citations if (host := _host(str(citation["url"])))}
    by_number = {int(citation["n"]): citation for citation in citations}
    _set_directions(tokens)
    direction = "ltr"
    for token in tokens:
        if token.type in _BLOCKS | _CELLS and token.meta.get("dir"):
            direction = token.meta["dir"]
        if token.type in {"heading_open", "heading_close"}:
            token.tag = f"h{min(int(token.tag[1]) + 2, 6)}"
        if token.type == "inline":
            token.children = list(_inline(token.children or [], hosts, by_number, direction))
    html = parser.renderer.render(tokens, parser.options, {})
    clean = nh3.clean(
        html,
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        url_schemes={"http", "https"},
        link_rel="noopener noreferrer nofollow",
        set_tag_attribute_values={"a": {"target": "_blank"}},
    )
    return mark_safe(clean)  # noqa: S308 -- cleaned by the allow-list above


def direction_of(text: str) -> str:
    """Return "rtl" or "ltr" by the majority of strong characters, or "" if there are none.

    The first strong character misleads: Persian technical sentences often begin with a Latin name.
    """
    counts = {"ltr": 0, "rtl": 0}
    for char in text:
        match unicodedata.bidirectional(char):
            case "L":
                counts["ltr"] += 1
            case "R" | "AL":
                counts["rtl"] += 1
    if not any(counts.values()):
        return ""
    return "rtl" if counts["rtl"] >= counts["ltr"] else "ltr"


def local_digits(text: str | int, direction: str) -> str:
    """Return the text with Persian digits where it stands among Persian."""
    return str(text).translate(_PERSIAN_DIGITS) if direction == "rtl" else str(text)


@cache
def _parser() -> MarkdownIt:
    # Without "reference" an answer cannot redefine [1]; without "text_join" an escaped \[1\] stays apart from [1].
    parser = MarkdownIt("commonmark", {"html": False, "maxNesting": 20}).enable(["table", "strikethrough"])
    parser.disable(["reference", "text_join"])
    parser.validateLink = lambda url: True  # type: ignore[method-assign]  # decided in _inline, where text can stay
    for name in ("fence", "code_block"):
        parser.add_render_rule(name, _code)
    parser.add_render_rule("code_inline", _inline_code)
    return parser


def _code(renderer: object, tokens: Sequence[Token], index: int, options: object, env: object) -> str:
    return f'<pre dir="ltr" tabindex="0"><code>{escape(tokens[index].content)}</code></pre>\n'


def _inline_code(renderer: object, tokens: Sequence[Token], index: int, options: object, env: object) -> str:
    return f'<code dir="ltr">{escape(tokens[index].content)}</code>'


def _set_directions(tokens: list[Token]) -> None:
    """Give each block its direction; a list or a table has one, and cells that differ are isolated inside it."""
    whole = direction_of(_text(tokens))
    stack: list[str] = []
    for index, token in enumerate(tokens):
        if token.nesting == 1:
            own = direction_of(_text(_block(tokens, index))) if token.type in _BLOCKS | _CELLS else ""
            outer = stack[-1] if stack else whole
            token.meta["dir"] = own or outer
            if own and token.type in _BLOCKS and not token.hidden:
                token.attrSet("dir", own)
            elif token.type in _CONTAINERS and outer:
                token.attrSet("dir", outer)
            if token.type in _CELLS or token.hidden:
                _isolate(tokens, index, own, outer)
            # A cell's marker and alignment follow its list or table, whatever the cell itself says.
            stack.append(outer if token.type in _CELLS else own or outer)
        elif token.nesting == -1:
            stack.pop()


def _isolate(tokens: list[Token], index: int, own: str, outer: str) -> None:
    """Wrap the words of a cell, or of a tight list item, that run against their surroundings."""
    inline = tokens[index + 1]
    if own and own != outer and inline.type == "inline":
        opening, closing = Token("bdi_open", "bdi", 1, attrs={"dir": own}), Token("bdi_close", "bdi", -1)
        inline.children = [opening, *(inline.children or []), closing]


def _block(tokens: Sequence[Token], index: int) -> Sequence[Token]:
    depth = 0
    for end in range(index, len(tokens)):
        depth += tokens[end].nesting
        if depth == 0:
            return tokens[index : end + 1]
    return tokens[index:]


def _text(tokens: Iterable[Token]) -> str:
    """Return the words of the blocks, without code: that is left to right wherever it stands."""
    children = (child for token in tokens if token.type == "inline" for child in token.children or [])
    return " ".join(child.content for child in children if child.type in {"text", "text_special", "image"})


def _inline(
    children: Sequence[Token], hosts: set[str], by_number: dict[int, dict[str, Any]], direction: str
) -> Iterable[Token]:
    kept: list[bool] = []  # for each open link
    for token in _merged(children):
        if token.type == "link_open":
            kept.append(_host(str(token.attrGet("href"))) in hosts)
            token.attrs = {"href": str(token.attrGet("href"))}
            if kept[-1]:
                yield token
        elif token.type == "link_close":
            if kept.pop():
                yield token
        elif token.type == "text" and not any(kept):
            yield from _with_citations(token.content, by_number, direction)
        elif token.type in {"image", "text_special"}:
            yield Token("text", "", 0, content=token.content)
        else:
            yield token


def _merged(children: Sequence[Token]) -> Iterable[Token]:
    """Join neighbouring text, so that a citation cut by the parser is whole again."""
    pending: Token | None = None
    for token in children:
        if token.type == "text":
            pending = Token("text", "", 0, content=(pending.content if pending else "") + token.content)
            continue
        if pending:
            yield pending
            pending = None
        yield token
    if pending:
        yield pending


def _with_citations(text: str, by_number: dict[int, dict[str, Any]], direction: str) -> Iterable[Token]:
    end = 0
    for match in _NUMBERS.finditer(text):
        numbers = [int(number) for number in re.split(r"\s*[,،]\s*", match[1])]
        if not all(number in by_number for number in numbers):
            continue
        yield Token("text", "", 0, content=text[end : match.start()].rstrip(" "))
        for number in numbers:
            yield Token("html_inline", "", 0, content=_citation(number, by_number[number], direction))
        end = match.end()
    yield Token("text", "", 0, content=text[end:])


def _citation(number: int, citation: dict[str, Any], direction: str) -> str:
    word = "منبع" if direction == "rtl" else "Source"
    shown = local_digits(number, direction)
    title = str(citation.get("title") or citation["url"])[:TITLE_MAX_CHARS]
    label = escape(f"{word} {shown}: {title}")
    return f'<sup><button type="button" class="cite" data-n="{number}" aria-label="{label}">{shown}</button></sup>'


def _host(url: str) -> str:
    """Return the host and port of an absolute http(s) address without user info, else ""."""
    try:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or "@" in parts.netloc or "\\" in url:
            return ""
        return f"{parts.hostname}:{parts.port or {'http': 80, 'https': 443}[parts.scheme]}" if parts.hostname else ""
    except ValueError:
        return ""
