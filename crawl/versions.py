"""Another version of a tenant's knowledge, prepared beside the live one, and the switch to it and back.

A version is held by a tenant row of its own that is no customer: nobody has a key to it, and it is searched by the same
code. So the live version costs nothing more, and both are whole. The switch gives the documents from one row to the
other in one transaction; websites, pages and uploads stay the customer's and are pointed at the new documents.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import IntegrityError, OperationalError, transaction
from django.db.models import OuterRef, Subquery

from core.states import OPEN_STATES
from crawl import finishing
from crawl.errors import VersionExistsError, VersionMissingError, VersionNotReadyError
from crawl.models import CrawlRun, Page, Upload, Website
from knowledge import moving, search_model
from knowledge.models import Chunk, Document, FullSync
from tenants.models import Tenant

NEXT, PREVIOUS = Tenant.Version.NEXT, Tenant.Version.PREVIOUS
SLUG_CHARS = 50
_COPIED = ("root_url", "name", "include_patterns", "exclude_patterns", "content_selectors", "exclude_selectors",
           "max_pages", "max_depth")  # fmt: skip


@dataclass(frozen=True)
class Status:
    """One version: ``crawls`` and ``waiting`` (documents without vectors) are what it still has to do."""

    version: str
    created_at: datetime
    model: str
    documents: int
    chunks: int
    crawls: int
    waiting: int
    kept_until: datetime | None

    @property
    def is_ready(self) -> bool:
        return self.documents > 0 and not (self.crawls or self.waiting)


def prepare(tenant: Tenant, *, recrawl: bool) -> Tenant:
    """Begin the next version: the tenant's websites read anew, or its texts as they are, with the settings' model.

    Raises:
        VersionExistsError: if one is there already.
    """
    try:
        with transaction.atomic():
            holder = _holder(tenant, NEXT)
            moving.copy(source=tenant, target=holder, is_whole=not recrawl)
            if recrawl:
                for website in Website.objects.for_tenant(tenant):
                    copied = {name: getattr(website, name) for name in _COPIED}
                    CrawlRun.objects.create(tenant=holder, website=Website.objects.create(tenant=holder, **copied))
                finishing.start_waiting_runs(holder)
    except IntegrityError as exc:
        raise VersionExistsError("The next version is being prepared already.") from exc
    return holder


def statuses(tenant: Tenant) -> list[Status]:
    """Return the live version (named ``live``) and those beside it."""
    return [_status(holder) for holder in (tenant, *tenant.versions.order_by("version"))]


def switch(tenant: Tenant) -> None:
    """Make the next version the live one; the live one is kept as the previous.

    Raises:
        VersionMissingError: if none is prepared.
        VersionNotReadyError: if it, or a change of the model, is not over.
    """
    incoming = find(tenant, NEXT)
    status = _status(incoming)
    if not status.is_ready:
        left = f"{status.crawls} crawls, {status.waiting} documents without vectors"
        raise VersionNotReadyError(f"The next version is not ready: {left}.")
    _exchange(tenant, incoming, kept_as=PREVIOUS)


def roll_back(tenant: Tenant) -> None:
    """Make the previous version the live one again; what was live becomes the next, to be switched to or dropped.

    Raises:
        VersionMissingError: if none is kept.
        VersionExistsError: if a next version has been begun meanwhile.
    """
    incoming = find(tenant, PREVIOUS)
    if tenant.versions.filter(version=NEXT).exists():
        raise VersionExistsError("A next version has been begun: drop it, or switch to it.")
    _exchange(tenant, incoming, kept_as=NEXT)


def find(tenant: Tenant, version: str) -> Tenant:
    """Return what holds the version.

    Raises:
        VersionMissingError: if there is none.
    """
    holder: Tenant | None = tenant.versions.filter(version=version).first()
    if holder is None:
        raise VersionMissingError(f"There is no {version} version.")
    return holder


def drop(holder: Tenant) -> None:
    """Delete a version that is not live, with all that it holds."""
    with transaction.atomic():
        for run in CrawlRun.objects.active().for_tenant(holder):
            finishing.end(run, CrawlRun.objects.all(), "The version was dropped.", is_cancelled=True)
        Chunk.objects.for_tenant(holder).delete()
        holder.delete()


def _holder(tenant: Tenant, version: str) -> Tenant:
    return Tenant.objects.create(
        slug=f"{tenant.slug[:SLUG_CHARS]}--{version}",
        name=tenant.name,
        language=tenant.language,
        time_zone=tenant.time_zone,
        is_active=False,
        version_of=tenant,
        version=version,
    )


def _status(holder: Tenant) -> Status:
    kept = holder.created_at + timedelta(days=settings.KNOWLEDGE_KEEP_VERSION_DAYS)
    return Status(
        version=holder.version or "live",
        created_at=holder.created_at,
        model=search_model.of(holder),
        documents=Document.objects.for_tenant(holder).count(),
        chunks=Chunk.objects.for_tenant(holder).count(),
        crawls=CrawlRun.objects.active().for_tenant(holder).count(),
        waiting=moving.unfinished(holder),
        kept_until=kept if holder.version == PREVIOUS else None,
    )


def _exchange(tenant: Tenant, incoming: Tenant, *, kept_as: str) -> None:
    if FullSync.objects.for_tenant(tenant).filter(state__in=OPEN_STATES).exists():
        raise VersionNotReadyError("All vectors are being made anew; wait for the end of that.")
    try:
        with transaction.atomic():
            Tenant.objects.select_for_update(no_key=True).get(pk=tenant.pk)
            for old in tenant.versions.filter(version=kept_as):
                drop(old)
            moving.move(source=tenant, target=_holder(tenant, kept_as))
            moving.move(source=incoming, target=tenant)
            _point_at_new_documents(tenant, incoming)
            drop(incoming)
    except (IntegrityError, OperationalError) as exc:  # a page was stored in between
        raise VersionNotReadyError("The knowledge is being written to; try again in a moment.") from exc


def _point_at_new_documents(tenant: Tenant, incoming: Tenant) -> None:
    """Adopt the pages that only the incoming version knows; let the next crawl read every page, whatever its ETag."""
    for website in Website.objects.for_tenant(tenant):
        known = Page.objects.filter(website=website).values("url")
        found = Page.objects.filter(website__tenant=incoming, website__root_url=website.root_url).exclude(url__in=known)
        found.update(tenant=tenant, website=website, run=None, duplicate_of=None, text_hash="")
    of_url = Document.objects.for_tenant(tenant).filter(url=OuterRef("url")).values("pk")[:1]
    Page.objects.for_tenant(tenant).update(
        document=Subquery(of_url), etag="", last_modified="", body_hash="", text_hash="", duplicate_of=None
    )
    Upload.objects.for_tenant(tenant).update(document=Subquery(of_url))
