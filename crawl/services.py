"""What may be done with websites and crawls."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from django.conf import settings
from django.db import IntegrityError, OperationalError, transaction

from core.outbound import OutboundError, parse_target
from crawl import finishing, refetching, removing
from crawl.errors import CrawlAlreadyActiveError, WebsiteBusyError, WebsiteInvalidError
from crawl.models import CrawlRun, Website
from crawl.progress import CrawlProgress, progress
from crawl.urls import canonicalise
from tenants.models import Tenant

__all__ = [
    "CrawlProgress",
    "add_website",
    "cancel_crawl",
    "find_or_add_website",
    "progress",
    "remove_website",
    "start_crawl",
    "update_website",
]

PATTERNS_MAX = 50
PATTERN_MAX_CHARS = 500
DEPTH_MAX = 100
REMOVE_TRIES = 3  # a worker in the middle of a page may be in the way once or twice, until it sees that the run is over


def add_website(
    *,
    tenant: Tenant,
    url: str,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    max_pages: int | None = None,
    max_depth: int | None = None,
    name: str = "",
) -> Website:
    """Return the tenant's website with this root, created at first sight; what is given here is set on an old one too.

    ``include`` and ``exclude`` are path globs such as ``/docs/*``. The address is looked at, not visited.

    Raises:
        WebsiteInvalidError: if the URL, a pattern or a limit cannot be used.
    """
    return find_or_add_website(
        tenant=tenant,
        url=url,
        include=include,
        exclude=exclude,
        max_pages=max_pages,
        max_depth=max_depth,
        name=name,
    )[0]


def find_or_add_website(*, tenant: Tenant, url: str, **given: Any) -> tuple[Website, bool]:
    """Do what `add_website` does, and tell as well whether the website is new."""
    root_url = _root_url(url)
    changes = {field: value for field, value in _checked(given).items() if value}
    website, is_new = Website.objects.get_or_create(tenant=tenant, root_url=root_url, defaults=changes)
    if changes and not is_new:
        for field, value in changes.items():
            setattr(website, field, value)
        website.save(update_fields=list(changes))
    return website, is_new


def update_website(*, website: Website, **given: Any) -> Website:
    """Set what is given of name, include, exclude, max_pages and max_depth; the next crawl obeys it.

    Raises:
        WebsiteInvalidError: if a pattern or a limit cannot be used.
    """
    changes = {field: value for field, value in _checked(given).items() if value is not None}
    for field, value in changes.items():
        setattr(website, field, value)
    if changes:
        website.save(update_fields=list(changes))
    return website


def remove_website(*, website: Website) -> int:
    """Stop the website's crawl, then delete it with its runs, pages and documents; return how many documents went.

    A document that belongs to a page of another website too stays.

    Raises:
        WebsiteBusyError: if workers were in the way each time; nothing is deleted then.
    """
    for _try in range(REMOVE_TRIES):
        for run in CrawlRun.objects.active().filter(website=website):
            cancel_crawl(run=run)
        try:
            return removing.remove(website)
        except (IntegrityError, OperationalError):  # a page came in meanwhile; two locks crossed
            continue
    raise WebsiteBusyError("The website is being worked on; try again in a moment.")


def _checked(given: dict[str, Any]) -> dict[str, Any]:
    """Return the columns for what is given, in the words of `add_website`."""
    checks: dict[str, Callable[[Any], Any]] = {
        "name": lambda name: name[:200],
        "include": partial(_patterns, pointer="/include"),
        "exclude": partial(_patterns, pointer="/exclude"),
        "max_pages": partial(_within, most=settings.CRAWL_MAX_PAGES, what="page", pointer="/max_pages"),
        "max_depth": partial(_within, most=DEPTH_MAX, what="depth", pointer="/max_depth"),
    }
    columns = {"include": "include_patterns", "exclude": "exclude_patterns"}
    return {columns.get(word, word): checks[word](value) for word, value in given.items()}


def _root_url(url: str) -> str:
    text = url.strip()
    if text and "://" not in text:
        text = f"https://{text}"
    try:
        parse_target(text)
    except OutboundError as exc:
        raise WebsiteInvalidError(str(exc), pointer="/url") from exc
    root_url = canonicalise(text)
    if root_url is None:
        raise WebsiteInvalidError("The URL cannot be used as the start of a crawl.", pointer="/url")
    return root_url


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


def _within(value: int | None, most: int, what: str, pointer: str) -> int | None:
    if value is not None and not 1 <= value <= most:
        raise WebsiteInvalidError(f"The {what} limit has to be between 1 and {most}.", pointer=pointer)
    return value


def start_crawl(*, website: Website) -> CrawlRun:
    """Queue a crawl of the website and return its run; it is sent when the tenant's share of workers allows.

    A run that only reads a few pages again becomes one of the whole website.

    Raises:
        CrawlAlreadyActiveError: if a run of this website is queued or running.
    """
    try:
        with transaction.atomic():
            run = refetching.widen(website) or CrawlRun.objects.create(tenant=website.tenant, website=website)
            finishing.start_waiting_runs(website.tenant)
    except IntegrityError as exc:
        raise CrawlAlreadyActiveError("This website is already being crawled.") from exc
    return run


def cancel_crawl(*, run: CrawlRun) -> bool:
    """Stop the run; what was read stays. Return False if it had ended before."""
    is_stopped = finishing.end(run, CrawlRun.objects.all(), "The crawl was stopped.", is_cancelled=True)
    run.refresh_from_db()
    return is_stopped
