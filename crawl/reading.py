"""Take the text out of a page's body, whatever kind of document it is; a browser helps where it needs one."""

import zlib
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from django.conf import settings

from core.turns import Turn
from crawl import answers, extraction
from crawl.extraction import ParsedPage
from crawl.models import Page, PageBody
from crawl.rendering import running, usable
from crawl.urls import canonicalise
from knowledge.errors import FileEncryptedError, FileError
from knowledge.files import reading as file_reading
from knowledge.files.kinds import Kind

_RENDERED = Page.Rendering.RENDERED


@dataclass(frozen=True)
class Reading:
    """The text of a page as Markdown; or the state, reason and detail that close it; or the URL it leads on to.

    ``parsed`` is what a web page says about itself, its tree given up; None for a document of another kind.
    """

    title: str = ""
    language: str = ""
    content: str = ""
    detail: str = ""
    parsed: ParsedPage | None = None
    ending: tuple[str, str, str] | None = None
    goal: str | None = None


def read(page: Page, turn: Turn) -> Reading | None:
    """Return what the page says; None if it has to be rendered and that has to wait for another turn.

    Its body is loaded only now and forgotten then: eight at once are too many.
    """
    stored = PageBody.objects.get(page=page.pk)
    body = zlib.decompress(stored.compressed)
    kind = answers.document_kind(page.url, stored.content_type, body)
    if kind is not None:
        return _read_document(page, stored, body, kind)
    text = extraction.decode(body, stored.content_type)
    parsed = extraction.parse(text, url=page.url, robots_tag=stored.robots_tag)
    if parsed is None:
        return Reading(ending=(Page.State.SKIPPED, Page.Reason.EMPTY, ""))
    reading = _read_html(page, parsed)
    if not parsed.needs_javascript or why_not_rendered(page):
        return reading
    if reading.goal or parsed.is_noindex or parsed.is_login or parsed.is_challenge:
        return reading
    return _read_rendered(page, text, stored.robots_tag, without=reading.content, turn=turn)


def why_not_rendered(page: Page) -> str:
    """Return what stands against rendering any page of the website, "" if nothing does."""
    if not usable.is_offered():
        return Page.Rendering.NOT_OFFERED
    return "" if page.website.renders_javascript else Page.Rendering.NOT_WANTED


def _read_html(page: Page, parsed: ParsedPage) -> Reading:
    goal = parsed.refresh_url if parsed.refresh_url != page.url else None
    if goal or parsed.is_noindex:
        return Reading(parsed=parsed.without_tree(), goal=goal)
    website = page.website
    content = extraction.extract(parsed, keep=website.content_selectors, drop=website.exclude_selectors).content
    return Reading(parsed.title, parsed.language, content, parsed=parsed.without_tree())


def _read_rendered(page: Page, text: str, robots_tag: str, *, without: str, turn: Turn) -> Reading | None:
    """Have the page rendered. ``without`` is what it says without its scripts."""
    assert page.run is not None  # noqa: S101 -- pages without one are not processed
    try:
        rendered = running.render(text, url=page.url, crawl=str(page.run_id), rules=page.run.robots, turn=turn)
    except running.NoRoomError:
        return None
    page.rendering = rendered.code
    if rendered.code != _RENDERED:
        return Reading(ending=(Page.State.FAILED, Page.Reason.NEEDS_JAVASCRIPT, rendered.detail))
    if rendered.goal:
        return _led_on(rendered.goal)
    parsed = extraction.parse(rendered.html, url=page.url, robots_tag=robots_tag, is_rendered=True)
    reading = _read_html(page, parsed) if parsed is not None else Reading()
    is_noindex = parsed is not None and parsed.is_noindex
    if reading.goal or is_noindex or set(reading.content.split()) - set(without.split()):
        return reading
    page.rendering = Page.Rendering.NO_TEXT
    return Reading(ending=(Page.State.SKIPPED, Page.Reason.NEEDS_JAVASCRIPT, ""))


def _led_on(goal: str) -> Reading:
    url = canonicalise(goal)
    if url is None:
        return Reading(ending=(Page.State.SKIPPED, Page.Reason.REDIRECT_OFF_SITE, goal))
    return Reading(goal=url)


def _read_document(page: Page, stored: PageBody, body: bytes, kind: Kind) -> Reading:
    if extraction.asks_not_to_be_indexed(stored.robots_tag):
        return Reading(ending=(Page.State.SKIPPED, Page.Reason.NOINDEX, ""))
    try:
        name, seconds = unquote(urlsplit(page.url).path), settings.KNOWLEDGE_FILE_SECONDS
        read = file_reading.read(body, kind, name=name, seconds=seconds)
    except FileEncryptedError:
        return Reading(ending=(Page.State.FAILED, Page.Reason.ENCRYPTED, ""))
    except FileError as exc:
        return Reading(ending=(Page.State.FAILED, Page.Reason.UNREADABLE, exc.code))
    if not read.content:
        return Reading(ending=(Page.State.SKIPPED, Page.Reason.EMPTY, ""))
    return Reading(read.title, read.language, read.content, read.detail)
