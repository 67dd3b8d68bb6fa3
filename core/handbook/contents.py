"""The handbook's pages: Markdown files in ``docs/<language>/``, rendered once and kept until the file changes.

Both languages hold the same pages in the same order. A file is named by its English slug in either folder;
the Persian address has a Persian slug.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from urllib.parse import quote, urlsplit

from django.conf import settings
from django.utils.text import slugify
from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT: Path = settings.BASE_DIR / "docs"
LANGUAGES = ("en", "fa")

# English slug (and file name) → Persian slug, in reading order.
SLUGS = {
    "what-is-pasokh": "پاسخ-چیست",
    "getting-started": "شروع",
    "adding-a-website": "افزودن-سایت",
    "crawling": "خزش",
    "asking-questions": "پرسیدن",
    "no-answer": "وقتی-پاسخی-نیست",
    "api": "رابط-برنامه-نویسی",
    "streaming": "پاسخ-جاری",
    "queues": "صف-ها",
    "operations": "بهره-برداری",
    "limits-and-privacy": "محدودیت-و-حریم-خصوصی",
    "configuration": "پیکربندی",
    "troubleshooting": "عیب-یابی",
    "glossary": "واژه-نامه",
}
NAMES = tuple(SLUGS)
_NAME_OF = {"en": {name: name for name in SLUGS}, "fa": {slug: name for name, slug in SLUGS.items()}}


@dataclass(frozen=True)
class Section:
    anchor: str
    title: str


@dataclass(frozen=True)
class Page:
    """A rendered page; ``summary`` is its first paragraph as plain text."""

    name: str
    language: str
    title: str
    summary: str
    html: str
    sections: tuple[Section, ...]
    modified_at: float  # POSIX seconds

    @property
    def path(self) -> str:
        return path_of(self.name, self.language)


def path_of(name: str, language: str) -> str:
    """Return the page's address on this host, percent-encoded."""
    slug = name if language == "en" else SLUGS[name]
    return f"/handbook/{language}/{quote(slug)}/"


def find(slug: str, language: str) -> Page | None:
    """Return the page at this address, or None."""
    name = _NAME_OF.get(language, {}).get(slug)
    return load(name, language) if name else None


def load(name: str, language: str) -> Page:
    file = ROOT / language / f"{name}.md"
    return _render(name, language, file.stat().st_mtime_ns)


def pages(language: str) -> list[Page]:
    """Return every page of a language in reading order."""
    return [load(name, language) for name in NAMES]


@lru_cache(maxsize=128)
def _render(name: str, language: str, modified_ns: int) -> Page:
    tokens = _markdown().parse((ROOT / language / f"{name}.md").read_text(encoding="utf-8"))
    title = tokens[1].content  # "# Title" is the first line of every page
    body = tokens[3:]
    sections = _anchor_headings(body)
    _rewrite_links(body, language)
    summary = next(token for token in body if token.type == "inline")
    return Page(
        name=name,
        language=language,
        title=title,
        summary=_plain(summary),
        html=_markdown().renderer.render(body, _markdown().options, {}),
        sections=tuple(sections),
        modified_at=modified_ns / 1e9,
    )


@lru_cache(maxsize=1)
def _markdown() -> MarkdownIt:
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    markdown.add_render_rule("fence", _ltr_code)
    markdown.add_render_rule("code_block", _ltr_code)
    return markdown


def _ltr_code(renderer: object, tokens: list[Token], index: int, options: object, env: object) -> str:
    """Code reads left to right on a Persian page too, and can be scrolled by keyboard."""
    from_text = tokens[index].content.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return f'<pre dir="ltr" tabindex="0"><code>{from_text}</code></pre>\n'


def _anchor_headings(tokens: list[Token]) -> list[Section]:
    sections = []
    for token, inline in pairwise(tokens):
        if token.type == "heading_open":
            anchor = slugify(_plain(inline), allow_unicode=True)
            token.attrSet("id", anchor)
            if token.tag == "h2":
                sections.append(Section(anchor, _plain(inline)))
    return sections


def _rewrite_links(tokens: list[Token], language: str) -> None:
    """Point links between the files (``crawling.md#robots``) at the pages' addresses."""
    for token in tokens:
        for child in token.children or []:
            if child.type == "link_open":
                child.attrSet("href", _address(str(child.attrGet("href")), language))
            if child.type == "code_inline":
                child.attrSet("dir", "ltr")


def _address(href: str, language: str) -> str:
    parts = urlsplit(href)
    match = re.fullmatch(r"(?:\.\./(en|fa)/)?([a-z-]+)\.md", parts.path)
    if parts.scheme or match is None:
        return href
    address = path_of(match[2], match[1] or language)
    return f"{address}#{parts.fragment}" if parts.fragment else address


def _plain(inline: Token) -> str:
    text = (" " if child.type in {"softbreak", "hardbreak"} else child.content for child in inline.children or [])
    return "".join(text)
