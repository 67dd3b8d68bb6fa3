"""What a page's answer means for its row: its body is kept, or the row is closed with the reason."""

import hashlib
import uuid
import zlib
from http import HTTPStatus

from django.utils import timezone

from core.outbound import Fetched
from crawl import frontier
from crawl.models import CrawlRun, Page, PageBody
from crawl.urls import Scope, canonicalise
from knowledge import services as knowledge

_HTML = {"text/html", "application/xhtml+xml"}
_BINARY_STARTS = (
    b"\x89PNG",
    b"PK\x03\x04",
    b"%PDF",
    b"GIF8",
    b"\xff\xd8\xff",
    b"\x1f\x8b",
    b"RIFF",
    b"\x00\x00\x01\x00",
)
_SNIFFED_BYTES = 1024


def validators(page: Page) -> dict[str, str]:
    """Return the headers that ask for the page only if it has changed since its text was taken."""
    if page.document_id is None:
        return {}
    headers = {"if-none-match": page.etag, "if-modified-since": page.last_modified}
    return {name: value for name, value in headers.items() if value}


def take(run: CrawlRun, page: Page, answer: Fetched) -> None:
    """Close the page or send it on to be processed, as the answer says."""
    page.http_status = answer.status
    if answer.status == HTTPStatus.NOT_MODIFIED and page.document_id is not None:
        _confirm(page, page.document_id)
    elif answer.redirect_url is not None:
        redirect(run, page, canonicalise(answer.redirect_url))
    elif answer.status in {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}:
        _close(page, Page.State.FAILED, Page.Reason.NOT_FOUND)
    elif answer.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.UNAVAILABLE_FOR_LEGAL_REASONS}:
        _close(page, Page.State.FAILED, Page.Reason.ACCESS_DENIED)
    elif answer.status not in {HTTPStatus.OK, HTTPStatus.NON_AUTHORITATIVE_INFORMATION}:
        _close(page, Page.State.FAILED, Page.Reason.HTTP_ERROR, detail=str(answer.status))
    elif not is_html(answer):
        _close(page, Page.State.SKIPPED, Page.Reason.NOT_HTML, detail=answer.headers.get("content-type", "")[:200])
    else:
        _keep(page, answer)


def redirect(run: CrawlRun, page: Page, goal: str | None, reason: str = Page.Reason.REDIRECT) -> None:
    """Close the page, and put the one it leads to on the list if that belongs to the website."""
    if goal is None or not Scope.of(run.website).covers(goal):
        _close(page, Page.State.SKIPPED, Page.Reason.REDIRECT_OFF_SITE, detail=goal or "")
    elif goal == page.url:
        _close(page, Page.State.FAILED, Page.Reason.REDIRECT_LOOP)
    else:
        frontier.add_urls(run, [goal], depth=page.depth)
        _close(page, Page.State.SKIPPED, reason, detail=goal)


def is_html(answer: Fetched) -> bool:
    """Return whether to read the answer as a page; a missing type is judged by the first bytes."""
    content_type = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    start = answer.body[:_SNIFFED_BYTES].lstrip()
    if answer.headers.get("content-disposition", "").strip().lower().startswith("attachment"):
        return False
    if start.startswith(_BINARY_STARTS):
        return False
    return content_type in _HTML or (not content_type and start.startswith(b"<"))


def _keep(page: Page, answer: Fetched) -> None:
    now = timezone.now()
    body_hash = hashlib.sha256(answer.body).hexdigest()
    if body_hash == page.body_hash and page.document_id is not None:
        _confirm(page, page.document_id)
        return
    body = PageBody(
        tenant_id=page.tenant_id,
        page=page,
        content_type=answer.headers.get("content-type", "")[:200].replace("\x00", ""),
        robots_tag=answer.headers.get("x-robots-tag", "")[:200].replace("\x00", ""),
        compressed=zlib.compress(answer.body, 1),
    )
    frontier.store_body(
        page,
        body=body,
        http_status=answer.status,
        fetched_at=now,
        body_hash=body_hash,
        etag=_validator(answer, "etag", 500),
        last_modified=_validator(answer, "last-modified", 100),
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
