"""What may be done with websites and crawls."""

from collections.abc import Sequence

from django.conf import settings
from django.db import IntegrityError, transaction

from core.outbound import OutboundError, parse_target
from crawl import finishing
from crawl.errors import CrawlAlreadyActiveError, WebsiteInvalidError
from crawl.models import CrawlRun, Website
from crawl.progress import CrawlProgress, progress
from crawl.urls import canonicalise
from tenants.models import Tenant

__all__ = ["CrawlProgress", "add_website", "cancel_crawl", "progress", "start_crawl"]

PATTERNS_MAX = 50
PATTERN_MAX_CHARS = 500
DEPTH_MAX = 100


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
    root_url = _root_url(url)
    given = {
        "name": name[:200],
        "include_patterns": _patterns(include),
        "exclude_patterns": _patterns(exclude),
        "max_pages": _within(max_pages, settings.CRAWL_MAX_PAGES, "page"),
        "max_depth": _within(max_depth, DEPTH_MAX, "depth"),
    }
    changes = {field: value for field, value in given.items() if value}
    website, is_new = Website.objects.get_or_create(tenant=tenant, root_url=root_url, defaults=changes)
    if changes and not is_new:
        for field, value in changes.items():
            setattr(website, field, value)
        website.save(update_fields=list(changes))
    return website


def _root_url(url: str) -> str:
    text = url.strip()
    if text and "://" not in text:
        text = f"https://{text}"
    try:
        parse_target(text)
    except OutboundError as exc:
        raise WebsiteInvalidError(str(exc)) from exc
    root_url = canonicalise(text)
    if root_url is None:
        raise WebsiteInvalidError("The URL cannot be used as the start of a crawl.")
    return root_url


def _patterns(patterns: Sequence[str]) -> list[str]:
    if len(patterns) > PATTERNS_MAX or any(len(pattern) > PATTERN_MAX_CHARS for pattern in patterns):
        raise WebsiteInvalidError(f"At most {PATTERNS_MAX} patterns of {PATTERN_MAX_CHARS} characters are accepted.")
    if any(not pattern.startswith(("/", "*")) for pattern in patterns):
        raise WebsiteInvalidError("A pattern is a path such as /docs/* and starts with a slash or an asterisk.")
    return list(patterns)


def _within(value: int | None, most: int, what: str) -> int | None:
    if value is not None and not 1 <= value <= most:
        raise WebsiteInvalidError(f"The {what} limit has to be between 1 and {most}.")
    return value


def start_crawl(*, website: Website) -> CrawlRun:
    """Queue a crawl of the website and return its run; it is sent when the tenant's share of workers allows.

    Raises:
        CrawlAlreadyActiveError: if a run of this website is queued or running.
    """
    try:
        with transaction.atomic():
            run = CrawlRun.objects.create(tenant=website.tenant, website=website)
            finishing.start_waiting_runs(website.tenant)
    except IntegrityError as exc:
        raise CrawlAlreadyActiveError("This website is already being crawled.") from exc
    return run


def cancel_crawl(*, run: CrawlRun) -> bool:
    """Stop the run; what was read stays. Return False if it had ended before."""
    is_stopped = finishing.end(run, CrawlRun.objects.all(), "The crawl was stopped.", is_cancelled=True)
    run.refresh_from_db()
    return is_stopped
