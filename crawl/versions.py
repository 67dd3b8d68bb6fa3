"""Another version of a tenant's knowledge, prepared beside the live one, and the switch to it and back.

A version is held by a tenant row of its own that is no customer: nobody has a key to it, and it is searched by the same
code. So the live version costs nothing more, and both are whole. The switch turns one pointer, `Tenant.holder`, however
much the versions hold; websites, pages and uploads stay the customer's and are pointed at the new documents.
"""

import uuid
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet, Subquery
from django.utils import timezone

from core.states import State
from crawl import finishing
from crawl.errors import VersionExistsError, VersionMissingError, VersionNotReadyError
from crawl.models import CrawlRun, CrawlRunQuerySet, Page, Upload, Website
from knowledge import copying, deleting, dropping, holders, search_model
from knowledge import services as knowledge
from knowledge.models import Chunk, Document
from tenants.models import Tenant

LIVE, NEXT, PREVIOUS, DROPPED = "", Tenant.Version.NEXT, Tenant.Version.PREVIOUS, Tenant.Version.DROPPED
SLUG_CHARS = 50
WAITING_SHARE = 100  # one document in so many may lack vectors: where crawls go on, some always do, and words find them
_NOT_COPIED = {"id", "tenant", "crawl_every_hours", "next_crawl_at", "created_at"}
COPIED = [field.name for field in Website._meta.concrete_fields if field.name not in _NOT_COPIED]


@dataclass(frozen=True)
class Work:
    """What a version still has to do: documents ``to_copy``, ``crawls``, and documents ``waiting`` for vectors.

    ``error`` says why it was not copied.
    """

    documents: int
    to_copy: int
    crawls: int
    waiting: int
    error: str

    @property
    def is_ready(self) -> bool:
        may_wait = self.documents // WAITING_SHARE
        return self.documents > 0 and not (self.to_copy or self.crawls) and self.waiting <= may_wait

    @property
    def left(self) -> str:
        """Return what is still to be done, for people; nothing if it is over."""
        counts = {
            "documents to be copied": self.to_copy,
            "crawls": self.crawls,
            "documents without vectors": self.waiting,
        }
        return ", ".join(f"{count} {what}" for what, count in counts.items() if count)


@dataclass(frozen=True)
class Status(Work):
    """One version."""

    version: str
    created_at: datetime
    model: str
    chunks: int
    kept_until: datetime | None


def prepare(tenant: Tenant, *, recrawl: bool) -> Tenant:
    """Begin the next version: the tenant's websites read anew, or its texts as they are, with the settings' model.

    Workers do it. From now on what changes in the live version changes in it too.

    Raises:
        VersionExistsError: if one is there already.
    """
    with transaction.atomic():
        holders.wait_for_changes(tenant)
        customer = _locked(tenant)
        if customer.find_version(NEXT) is not None:
            raise VersionExistsError("The next version is being prepared already.")
        holder = _new_holder(customer)
        knowledge.begin_copy(source=customer, target=holder, is_whole=not recrawl)
        if recrawl:
            for website in Website.objects.for_tenant(customer):
                copied = {name: getattr(website, name) for name in COPIED}
                CrawlRun.objects.create(tenant=holder, website=Website.objects.create(tenant=holder, **copied))
            finishing.start_waiting_runs(holder)
    return holder


def statuses(tenant: Tenant) -> list[Status]:
    """Return the live version (named ``live``) and those beside it."""
    return [_status_of(holder) for holder in tenant.knowledge_versions()]


def switch(tenant: Tenant) -> None:
    """Make the next version the live one; the live one is kept as the previous.

    Raises:
        VersionMissingError: if none is prepared.
        VersionNotReadyError: if it is not over.
    """
    with transaction.atomic():
        _locked(tenant)
        live, incoming = find(tenant, LIVE), find(tenant, NEXT)
        work = work_of(incoming)
        if work.error:
            raise VersionNotReadyError(f"The next version could not be copied; drop it. {work.error}")
        if not work.is_ready:
            raise VersionNotReadyError(f"The next version is not ready: {work.left or 'it holds no documents'}.")
        if (replaced := tenant.find_version(PREVIOUS)) is not None:
            drop(replaced)
        deleting.exclude_alike(holder_id=incoming.pk, as_in=live.pk)
        _make_live(tenant, incoming, kept_as=PREVIOUS)
    if incoming.pk != tenant.pk:
        Website.objects.for_tenant(incoming).delete()  # it was read by these, and is read by the customer's from now on


def roll_back(tenant: Tenant) -> None:
    """Make the previous version the live one again; what was live becomes the next, to be switched to or dropped.

    Raises:
        VersionMissingError: if none is kept.
        VersionExistsError: if a next version has been begun meanwhile.
    """
    with transaction.atomic():
        _locked(tenant)
        incoming = find(tenant, PREVIOUS)
        if tenant.find_version(NEXT) is not None:
            raise VersionExistsError("A next version has been begun: drop it, or switch to it.")
        _make_live(tenant, incoming, kept_as=NEXT)


def find(tenant: Tenant, version: str) -> Tenant:
    """Return what holds the version.

    Raises:
        VersionMissingError: if there is none.
    """
    holder = tenant.find_version(version)
    if holder is None:
        raise VersionMissingError(f"There is no {version} version.")
    return holder


def twins_of(website: Website) -> QuerySet[Website]:
    """Return the website as versions beside the live one read it."""
    return Website.objects.filter(tenant__version_of=website.tenant_id, root_url=website.root_url)


def drop(holder: Tenant) -> None:
    """Give up a version that is not live; what it holds is deleted bit by bit (`crawl.cleaning`)."""
    with transaction.atomic():
        for run in _active_crawls(holder):
            finishing.end(run, CrawlRun.objects.all(), "The version was dropped.", is_cancelled=True)
        dropping.stop_work(holder)
        _rename(holder, DROPPED)


def forget_empty(limit: int) -> int:
    """Delete the rows of dropped versions that hold nothing any more; a customer's own row stays."""
    is_used = Exists(Document.objects.filter(tenant=OuterRef("pk")))
    empty = Tenant.objects.filter(version=DROPPED, version_of__isnull=False).exclude(is_used)[:limit]
    for holder in (found := list(empty)):
        holder.delete()
    return len(found)


def _locked(tenant: Tenant) -> Tenant:
    """Return the customer's row as it is now, locked: versions begin and change places one at a time."""
    row: Tenant = Tenant.objects.select_for_update(no_key=True).get(pk=tenant.pk)
    return row


def _new_holder(tenant: Tenant) -> Tenant:
    return Tenant.objects.create(
        slug=f"{tenant.slug[:SLUG_CHARS]}--{uuid.uuid4().hex[:8]}",
        name=tenant.name,
        language=tenant.language,
        time_zone=tenant.time_zone,
        is_active=False,
        version_of=tenant,
        version=NEXT,
        version_since=timezone.now(),
    )


def work_of(holder: Tenant) -> Work:
    """Return what the version that the row holds still has to do, without counting its passages."""
    copy = copying.unfinished(holder)
    return Work(
        documents=Document.objects.for_tenant(holder).count(),
        to_copy=copy.left if copy else 0,
        crawls=_active_crawls(holder).count(),
        waiting=copying.without_vectors(holder),
        error=copy.error if copy and copy.state == State.FAILED else "",
    )


def _status_of(holder: Tenant) -> Status:
    since = holder.version_since or holder.created_at
    return Status(
        **asdict(work_of(holder)),
        version=holder.version or "live",
        created_at=since,
        model=search_model.of(holder),
        chunks=Chunk.objects.for_tenant(holder).count(),
        kept_until=since + timedelta(days=settings.KNOWLEDGE_KEEP_VERSION_DAYS) if holder.version == PREVIOUS else None,
    )


def _active_crawls(holder: Tenant) -> CrawlRunQuerySet:
    """Return the crawls that write into the version: the customer's own into the live one."""
    is_customer = holder.pk == holder.customer_id
    if holder.version == LIVE:
        return CrawlRun.objects.active().filter(tenant=holder.customer_id)
    return CrawlRun.objects.none() if is_customer else CrawlRun.objects.active().filter(tenant=holder.pk)


def _make_live(tenant: Tenant, incoming: Tenant, *, kept_as: str) -> None:
    _rename(find(tenant, LIVE), kept_as)
    _rename(incoming, LIVE)
    tenant.holder_id = incoming.pk
    tenant.save(update_fields=["holder"])
    _adopt_pages(tenant, incoming)


def _rename(holder: Tenant, version: str) -> None:
    Tenant.objects.filter(pk=holder.pk).update(version=version, version_since=timezone.now())


def _adopt_pages(tenant: Tenant, incoming: Tenant) -> None:
    """Take over the pages that only the incoming version knows; let the next crawl read every page, whatever its ETag.

    A page that is being stored is waited for; those after it find the new version (`knowledge.services.store_page`).
    """
    for website in Website.objects.for_tenant(tenant):
        known = Page.objects.filter(website=website).values("url")
        found = Page.objects.filter(website__tenant=incoming.pk, website__root_url=website.root_url)
        found.exclude(url__in=known).update(tenant=tenant, website=website, run=None, duplicate_of=None, text_hash="")
    of_url = Document.objects.for_tenant(tenant).filter(url=OuterRef("url")).values("pk")[:1]
    Page.objects.for_tenant(tenant).update(
        document=Subquery(of_url), etag="", last_modified="", body_hash="", text_hash="", duplicate_of=None
    )
    Upload.objects.for_tenant(tenant).update(document=Subquery(of_url))
