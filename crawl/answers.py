"""What a page's answer means for its row: its body is kept, or the row is closed with the reason."""

import hashlib
import uuid
import zlib
from http import HTTPStatus
from urllib.parse import unquote, urlsplit

from django.conf import settings
from django.utils import timezone

from core.outbound import Fetched
from crawl import frontier, missing, urls
from crawl.models import CrawlRun, Page, PageBody
from crawl.urls import Scope, canonicalise
from knowledge import services as knowledge
from knowledge.files.kinds import SNIFFED_BYTES, Kind, kind_of

_HTML = {"text/html", "application/xhtml+xml"}
_BINARY_STARTS = (
    b"\x89PNG",
    b"PK\x03\x04",
    b"%PDF-",
    b"GIF8",
    b"\xff\xd8\xff",
    b"\x1f\x8b",
    b"RIFF",
    b"\x00\x00\x01\x00",
)
# A page that has been read and is not found now is asked for once more before that is believed: in the middle of a
# deployment a site says 404 for a moment. What is gone (410) is gone.
ASKED_WHEN_GONE = 2
GONE_RETRY_SECONDS = 5


def validators(page: Page) -> dict[str, str]:
    """Return the headers that ask for the page only if it has changed since its text was taken."""
    if page.document_id is None:
        return {}
    headers = {"if-none-match": page.etag, "if-modified-since": page.last_modified}
    return {name: value for name, value in headers.items() if value}


def take(run: CrawlRun, page: Page, answer: Fetched) -> PageBody | None:
    """Close the page as the answer says, or return the body to be kept and processed, its page's columns set."""
    page.http_status = answer.status
    if answer.status == HTTPStatus.NOT_MODIFIED and page.document_id is not None:
        _confirm(page, page.document_id)
    elif answer.redirect_url is not None:
        redirect(run, page, canonicalise(answer.redirect_url))
    elif _may_come_back(run, page, answer):
        frontier.retry_later(page, GONE_RETRY_SECONDS)
    elif answer.status in {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}:
        _close(page, Page.State.FAILED, Page.Reason.NOT_FOUND)
    elif answer.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.UNAVAILABLE_FOR_LEGAL_REASONS}:
        _close(page, Page.State.FAILED, Page.Reason.ACCESS_DENIED)
    elif answer.status not in {HTTPStatus.OK, HTTPStatus.NON_AUTHORITATIVE_INFORMATION}:
        _close(page, Page.State.FAILED, Page.Reason.HTTP_ERROR, detail=str(answer.status))
    elif not is_html(answer) and document_kind(page.url, answer.headers.get("content-type", ""), answer.body) is None:
        _close(page, Page.State.SKIPPED, Page.Reason.NOT_HTML, detail=answer.headers.get("content-type", "")[:200])
    else:
        return _body(page, answer)
    return None


def _may_come_back(run: CrawlRun, page: Page, answer: Fetched) -> bool:
    is_known = page.document_id is not None and not run.is_partial
    return answer.status == HTTPStatus.NOT_FOUND and is_known and page.attempts < ASKED_WHEN_GONE


def redirect(run: CrawlRun, page: Page, goal: str | None, reason: str = Page.Reason.REDIRECT) -> None:
    """Close the page, and put the one it leads to on the list if that belongs to the website."""
    if goal is not None and urls.is_login(goal) and not urls.is_login(page.url):
        _close(page, Page.State.SKIPPED, Page.Reason.LOGIN, detail=goal)
    elif page.url != run.website.root_url and missing.is_where_missing_pages_lead(run.missing, goal):
        _close(page, Page.State.FAILED, Page.Reason.SOFT_404, detail=goal or "")
    elif goal is None or not Scope.of(run.website).covers(goal):
        _close(page, Page.State.SKIPPED, Page.Reason.REDIRECT_OFF_SITE, detail=goal or "")
    elif goal == page.url:
        _close(page, Page.State.FAILED, Page.Reason.REDIRECT_LOOP)
    else:
        frontier.add_urls(run, [goal], depth=page.depth + 1)  # counts as a link: redirects may go on for ever
        _close(page, Page.State.SKIPPED, reason, detail=goal)


def document_kind(url: str, content_type: str, body: bytes) -> Kind | None:
    """Return what kind of document that is a file the answer holds; None if it is a page, or none that can be read."""
    return kind_of(body[:SNIFFED_BYTES], name=unquote(urlsplit(url).path), content_type=content_type)


def max_bytes(url: str) -> int:
    """Return how long the answer may be."""
    return settings.KNOWLEDGE_FILE_MAX_BYTES if is_file(url) else settings.CRAWL_PAGE_MAX_BYTES


def is_file(url: str) -> bool:
    return urlsplit(url).path.lower().endswith((".pdf", ".docx"))


def is_html(answer: Fetched) -> bool:
    """Return whether to read the answer as a page; a missing type is judged by the first bytes."""
    content_type = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    start = answer.body[:SNIFFED_BYTES].lstrip()
    if answer.headers.get("content-disposition", "").strip().lower().startswith("attachment"):
        return False
    if start.startswith(_BINARY_STARTS):
        return False
    return content_type in _HTML or (not content_type and start.startswith(b"<"))


def _body(page: Page, answer: Fetched) -> PageBody | None:
    body_hash = hashlib.sha256(answer.body).hexdigest()
    if body_hash == page.body_hash and page.document_id is not None:
        _confirm(page, page.document_id)
        return None
    page.body_hash = body_hash
    page.etag = _validator(answer, "etag", 500)
    page.last_modified = _validator(answer, "last-modified", 100)
    return PageBody(
        tenant_id=page.tenant_id,
        page=page,
        content_type=answer.headers.get("content-type", "")[:200].replace("\x00", ""),
        robots_tag=answer.headers.get("x-robots-tag", "")[:200].replace("\x00", ""),
        compressed=zlib.compress(answer.body, 1),
    )


def _confirm(page: Page, document_id: uuid.UUID) -> None:
    now = timezone.now()
    knowledge.confirm_page(document_id=document_id, fetched_at=now)
    _close(page, Page.State.DONE, Page.Reason.UNCHANGED, fetched_at=now)


def _validator(answer: Fetched, name: str, max_chars: int) -> str:
    value = answer.headers.get(name, "")
    return value if len(value) <= max_chars and value.isascii() and value.isprintable() else ""


def _close(page: Page, state: str, reason: str, detail: str = "", **values: object) -> None:
    frontier.close(page, state, reason, detail, http_status=page.http_status, **values)
