"""What may be done with websites and crawls."""

from collections.abc import Sequence
from typing import Any

from django.db import IntegrityError, OperationalError, transaction

from crawl import finishing, refetching, removing, sending, uploading, versions, website_fields
from crawl.errors import CrawlAlreadyActiveError, WebsiteBusyError
from crawl.models import CrawlRun, Page, Upload, Website
from crawl.progress import CrawlProgress, outcomes, progress
from tenants.models import Tenant

__all__ = [
    "CrawlProgress",
    "add_website",
    "cancel_crawl",
    "find_or_add_website",
    "outcomes",
    "progress",
    "remove_website",
    "start_crawl",
    "update_website",
    "upload_document",
]

REMOVE_TRIES = 3  # a worker in the middle of a page may be in the way once or twice, until it sees that the run is over


def add_website(
    *,
    tenant: Tenant,
    url: str,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    max_pages: int | None = None,
    max_depth: int | None = None,
    content: Sequence[str] = (),
    leave_out: Sequence[str] = (),
    renders_javascript: bool = False,
    crawl_every_hours: int | None = None,
    name: str = "",
) -> Website:
    """Return the tenant's website with this root, created at first sight; what is given here is set on an old one too.

    ``include`` and ``exclude`` are path globs such as ``/docs/*``, ``content`` and ``leave_out`` CSS selectors. The
    address is looked at, not visited.

    Raises:
        WebsiteInvalidError: if the URL, a pattern, a selector or a limit cannot be used.
        RenderingNotOfferedError: if ``renders_javascript`` is asked for and the operator has it off.
    """
    return find_or_add_website(
        tenant=tenant,
        url=url,
        include=include,
        exclude=exclude,
        max_pages=max_pages,
        max_depth=max_depth,
        content=content,
        leave_out=leave_out,
        renders_javascript=renders_javascript,
        crawl_every_hours=crawl_every_hours,
        name=name,
    )[0]


def find_or_add_website(*, tenant: Tenant, url: str, **given: Any) -> tuple[Website, bool]:
    """Do what `add_website` does, and tell as well whether the website is new."""
    root_url = website_fields.root_url(url)
    changes = {field: value for field, value in website_fields.checked(given).items() if value}
    website, is_new = Website.objects.get_or_create(tenant=tenant, root_url=root_url, defaults=changes)
    if "crawl_every_hours" in changes or (changes and not is_new):
        _change(website, changes)
    return website, is_new


def update_website(*, website: Website, **given: Any) -> Website:
    """Set what is given of what `add_website` takes but the URL; the next crawl obeys it.

    ``crawl_every_hours=None`` ends the crawling by the clock.

    Raises:
        WebsiteInvalidError, RenderingNotOfferedError: as `add_website`.
    """
    changes = {
        field: value
        for field, value in website_fields.checked(given).items()
        if value is not None or field == "crawl_every_hours"
    }
    _change(website, changes)
    return website


@transaction.atomic
def _change(website: Website, changes: dict[str, Any]) -> None:
    selectors = {"content_selectors", "exclude_selectors"} & changes.keys()
    is_read_otherwise = any(changes[field] != getattr(website, field) for field in selectors)
    for field, value in changes.items():
        setattr(website, field, value)
    if "crawl_every_hours" in changes:
        website.plan_next_crawl()
    website.save(update_fields=[*changes, "next_crawl_at"])
    read_alike = {field: value for field, value in changes.items() if field in versions.COPIED}
    versions.twins_of(website).update(**read_alike)
    if is_read_otherwise:  # the next crawl takes the text anew though the pages have not changed
        Page.objects.filter(website=website).update(etag="", last_modified="", body_hash="")


def remove_website(*, website: Website) -> int:
    """Stop the website's crawl, then delete it with its runs, pages and documents; return how many documents went.

    A document that belongs to a page of another website too stays.

    Raises:
        WebsiteBusyError: if workers were in the way each time; nothing is deleted then.
    """
    for _try in range(REMOVE_TRIES):
        for run in CrawlRun.objects.active().filter(website__in=[website, *versions.twins_of(website)]):
            cancel_crawl(run=run)
        try:
            return removing.remove(website)
        except (IntegrityError, OperationalError):  # a page came in meanwhile; two locks crossed
            continue
    raise WebsiteBusyError("The website is being worked on; try again in a moment.")


def start_crawl(*, website: Website) -> CrawlRun:
    """Queue a crawl of the website and return its run; it is sent when the tenant's share of workers allows.

    A run that only reads a few pages again becomes one of the whole website.

    Raises:
        CrawlAlreadyActiveError: if a run of this website is queued or running.
    """
    try:
        with transaction.atomic():
            run = refetching.widen(website) or CrawlRun.objects.create(tenant=website.tenant, website=website)
            website.plan_next_crawl()
            website.save(update_fields=["next_crawl_at"])
            finishing.start_waiting_runs(website.tenant)
    except IntegrityError as exc:
        raise CrawlAlreadyActiveError("This website is already being crawled.") from exc
    return run


def cancel_crawl(*, run: CrawlRun) -> bool:
    """Stop the run; what was read stays. Return False if it had ended before."""
    is_stopped = finishing.end(run, CrawlRun.objects.all(), "The crawl was stopped.", is_cancelled=True)
    run.refresh_from_db()
    return is_stopped


def upload_document(
    *, tenant: Tenant, body: bytes, name: str, content_type: str = "", title: str = "", url: str = ""
) -> Upload:
    """Have a file read into a document of the tenant, and return its row; workers do it after the commit.

    A file of the same name, or with the same ``url`` (where readers find it), replaces the document of the last one.

    Raises:
        FileError, UploadInvalidError: as `uploading.keep`.
    """
    with transaction.atomic():
        upload = uploading.keep(tenant=tenant, body=body, name=name, content_type=content_type, title=title, url=url)
        transaction.on_commit(sending.send_uploads)
    return upload
