"""What is crawled: a website, its runs, and a row for every URL with its state and the reason for it."""

import uuid
from datetime import timedelta
from typing import Any, ClassVar, Self

from django.db import models, transaction
from django.db.models import F, Q
from django.db.models.functions import Coalesce, Now
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from core.jobs import CLAIMS_MAX, Job, JobQuerySet, lease_end
from core.states import State
from crawl.upload_model import Upload
from knowledge.models import Document
from tenants.models import TenantOwned, TenantOwnedQuerySet

__all__ = ["ACTIVE", "URL_MAX_CHARS", "CrawlRun", "Host", "Page", "PageBody", "PageQuerySet", "Upload", "Website"]

URL_MAX_CHARS = 2000
ACTIVE = [State.QUEUED, State.RUNNING]
_UNLEASED = Q(lease_until=None) | Q(lease_until__lt=Now())


class Website(TenantOwned):
    """A site that a tenant wants answered from."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    root_url = models.CharField(_("address"), max_length=URL_MAX_CHARS)
    name = models.CharField(_("name"), max_length=200, blank=True)
    # Path globs; without include patterns everything below root_url's folder is meant.
    include_patterns = models.JSONField(_("paths to crawl"), default=list, blank=True)
    exclude_patterns = models.JSONField(_("paths to leave out"), default=list, blank=True)
    # CSS selectors: what is the content, and what is not though it stands in it.
    content_selectors = models.JSONField(_("parts that are content (CSS)"), default=list, db_default=[], blank=True)
    exclude_selectors = models.JSONField(_("parts to leave out (CSS)"), default=list, db_default=[], blank=True)
    max_pages = models.PositiveIntegerField(_("pages at most"), default=1000)
    max_depth = models.PositiveSmallIntegerField(_("depth at most"), default=20)
    # if the operator offers it
    renders_javascript = models.BooleanField(
        _("run the scripts of pages that need it"), default=False, db_default=False
    )
    # None: by hand alone
    crawl_every_hours = models.PositiveIntegerField(_("crawl every so many hours"), null=True, blank=True)
    next_crawl_at = models.DateTimeField(_("next crawl"), null=True, editable=False)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    class Meta:
        verbose_name = _("website")
        verbose_name_plural = _("websites")
        constraints = [models.UniqueConstraint(fields=["tenant", "root_url"], name="website_once_per_tenant")]
        indexes = [
            models.Index(fields=["next_crawl_at"], condition=Q(next_crawl_at__isnull=False), name="website_due"),
        ]

    def __str__(self) -> str:
        return self.name or self.root_url

    def plan_next_crawl(self) -> None:
        """Set when it is crawled next by the clock, counted from now; to be saved by the caller."""
        hours = self.crawl_every_hours
        self.next_crawl_at = timezone.now() + timedelta(hours=hours) if hours else None


class SentJobQuerySet(JobQuerySet[Any]):
    """Jobs whose ``send_at`` says when the sweeper sends their message again, if nothing has happened until then."""

    AT_ONCE: ClassVar = {"send_at": Now()}

    def lease_values(self) -> dict[str, Any]:
        return super().lease_values() | {"send_at": lease_end()}


class CrawlRunQuerySet(TenantOwnedQuerySet["CrawlRun"], SentJobQuerySet):  # type: ignore[override]
    CLAIMS_MAX = CLAIMS_MAX + 1  # a page that killed its workers is set aside by one more slice
    CLAIMED_WITH = ("tenant", "website")

    def active(self) -> Self:
        return self.filter(state__in=ACTIVE)

    def free(self) -> Self:
        """Active runs that no worker holds and that are due: between two slices a run is free and still running."""
        return self.active().filter(_UNLEASED, Q(not_before=None) | Q(not_before__lte=Now()))

    def claim(self, run_id: uuid.UUID | str, ticket: int | None = None) -> "CrawlRun | None":
        """Take the run for one slice, or return None if it is not free or the ticket is used up.

        It draws the next ticket, so a message that was sent twice cannot start a second chain of slices.
        """
        these = self if ticket is None else self.filter(ticket=ticket)
        run: CrawlRun | None = these.take(
            {"pk": run_id},
            ticket=F("ticket") + 1,
            sends=0,
            not_before=None,
            is_waiting=False,
            started_at=Coalesce("started_at", Now()),
        )
        return run

    def due(self) -> Self:
        """Runs whose message has to be sent (again): lost, dead with their worker, or done with a pause."""
        return self.active().filter(send_at__lte=Now())


class CrawlRun(TenantOwned, Job):
    """One crawl of a website: a chain of short slices, each holding the lease while it works.

    ``send_at`` is when the sweeper sends the run's message if nothing has happened until then; None means that the
    run still waits for its tenant's turn, or has ended.
    """

    class Stage(models.TextChoices):
        ROBOTS = "robots", _("reading robots.txt")
        SITEMAP = "sitemap", _("reading sitemaps")
        PAGES = "pages", _("fetching pages")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    website = models.ForeignKey(Website, on_delete=models.CASCADE, related_name="runs", verbose_name=_("website"))
    state = models.CharField(_("state"), max_length=10, choices=State.choices, default=State.QUEUED)
    stage = models.CharField(_("stage"), max_length=20, choices=Stage.choices, default=Stage.ROBOTS)
    attempts = models.PositiveSmallIntegerField(default=0)  # slices in a row that died without finishing a page
    ticket = models.PositiveIntegerField(default=0)
    not_before = models.DateTimeField(null=True)  # a polite pause longer than a slice
    send_at = models.DateTimeField(null=True)
    sends = models.PositiveSmallIntegerField(default=0)  # since the last slice began
    is_waiting = models.BooleanField(default=False)  # for fetched pages to be processed
    is_cancelled = models.BooleanField(default=False)
    is_partial = models.BooleanField(default=False, db_default=False)  # only pages on its list from the start
    robots = models.JSONField(default=dict)  # origin: text of its robots.txt
    sitemaps = models.JSONField(default=list)  # [url, depth] of those to be read
    sitemaps_seen = models.JSONField(default=list)
    missing = models.JSONField(null=True)  # what the site answers where it has no page (crawl/missing.py)
    trouble_count = models.PositiveSmallIntegerField(default=0)  # requests in a row that the site did not answer
    dropped_count = models.PositiveIntegerField(default=0)  # links left out at the page limit
    trapped_count = models.PositiveIntegerField(default=0, db_default=0)  # links left out as endless variants
    error = models.TextField(_("error"), blank=True)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)
    started_at = models.DateTimeField(null=True)
    moved_at = models.DateTimeField(_("last moved"), null=True)  # when a page was last fetched or closed
    finished_at = models.DateTimeField(_("ended"), null=True)

    objects: ClassVar = CrawlRunQuerySet.as_manager()

    class Meta:
        verbose_name = _("crawl run")
        verbose_name_plural = _("crawl runs")
        constraints = [
            models.UniqueConstraint(
                fields=["website"],
                condition=Q(state__in=[State.QUEUED, State.RUNNING]),
                name="crawl_run_one_active_per_website",
            ),
            models.CheckConstraint(
                condition=~Q(state=State.RUNNING) | Q(send_at__isnull=False), name="crawl_run_running_is_never_lost"
            ),
        ]
        indexes = [models.Index(fields=["send_at"], condition=Q(send_at__isnull=False), name="crawl_run_due")]

    def __str__(self) -> str:
        return f"{self.website} {self.created_at:%Y-%m-%d %H:%M}"

    @property
    def is_finished(self) -> bool:
        return self.state not in ACTIVE

    def record(self, **values: object) -> bool:
        """Write these columns and renew the lease; False if the run is no longer this worker's."""
        won = self.holds().update(**CrawlRun.objects.lease_values(), **values)
        for name, value in values.items():
            setattr(self, name, value)
        return bool(won)

    def note_movement(self) -> None:
        """Remember that a page was just fetched or closed, whoever did it."""
        CrawlRun.objects.filter(pk=self.pk).update(moved_at=Now())


class PageQuerySet(TenantOwnedQuerySet["Page"], SentJobQuerySet):  # type: ignore[override]
    """A page is a job while it is fetched: the state does not change when a worker takes it."""

    TAKEN: ClassVar = {"state": "fetched"}
    CLAIMED_WITH = ("tenant", "website", "run__website")

    def free(self) -> Self:
        return self.filter(_UNLEASED, **self.TAKEN)

    def claim(self, page_id: int) -> "Page | None":
        """Take a fetched page for processing, or return None if it is not there to be taken."""
        page: Page | None = self.take({"pk": page_id}, sends=0)
        return page

    def claim_batch(self, limit: int) -> "list[Page]":
        """Take so many of these pages under one token, nearest to the root first.

        Those that a worker died of are left out: they go alone.
        """
        with transaction.atomic():
            rows = self.free().filter(attempts=0).order_by("depth", "pk")
            ids = list(rows.select_for_update(skip_locked=True, no_key=True).values_list("pk", flat=True)[:limit])
            pages = Page.objects.take_all({"pk__in": ids}, sends=0) if ids else []
        return sorted(pages, key=lambda page: ids.index(page.pk))

    def due(self) -> Self:
        """Fetched pages whose message was lost, or whose worker died."""
        return self.filter(send_at__lte=Now(), **self.TAKEN)


class Page(TenantOwned, Job):
    """One URL of a website: the frontier, the memory between crawls, and the report to the tenant."""

    class State(models.TextChoices):
        QUEUED = "queued", _("queued")  # to be fetched in this run
        FETCHED = "fetched", _("fetched")  # body stored, text not yet taken
        DONE = "done", _("done")
        SKIPPED = "skipped", _("skipped")  # nothing is wrong with it, and nothing of it is kept
        FAILED = "failed", _("failed")

    class Reason(models.TextChoices):
        """Why a page is skipped or failed; ``detail`` names the other URL or the status."""

        UNCHANGED = "unchanged", _("not changed since the last crawl")
        OUT_OF_SCOPE = "out_of_scope", _("outside the website's folder or patterns")
        ROBOTS = "robots", _("forbidden by robots.txt")
        NOINDEX = "noindex", _("asks not to be indexed")
        REDIRECT = "redirect", _("redirects to another page")
        REDIRECT_OFF_SITE = "redirect_off_site", _("redirects to another site")
        CANONICAL = "canonical", _("names another page as the original")
        DUPLICATE = "duplicate", _("has the same text as another page")
        NOT_HTML = "not_html", _("is neither a web page nor a document that can be read")
        EMPTY = "empty", _("has no text")
        NEEDS_JAVASCRIPT = "needs_javascript", _("shows its text with JavaScript only")
        LOGIN = "login", _("asks visitors to log in")
        CHALLENGE = "challenge", _("asks visitors to prove that they are human")
        CANCELLED = "cancelled", _("the crawl was stopped")
        NOT_FOUND = "not_found", _("does not exist")
        SOFT_404 = "soft_404", _("answers like pages that do not exist")
        ACCESS_DENIED = "access_denied", _("the site denies access")
        HTTP_ERROR = "http_error", _("the site answered with an error")
        REDIRECT_LOOP = "redirect_loop", _("redirects to itself")
        TOO_LARGE = "too_large", _("is too large")
        TIMEOUT = "timeout", _("took too long")
        UNREACHABLE = "unreachable", _("could not be reached")
        FORBIDDEN_ADDRESS = "forbidden_address", _("is not on the public internet")
        BAD_CERTIFICATE = "bad_certificate", _("the site's certificate is not valid")
        BAD_RESPONSE = "bad_response", _("the site's answer is not valid HTTP")
        INVALID_URL = "invalid_url", _("is not a valid URL")
        CRASHED = "crashed", _("stopped its worker several times")
        UNREADABLE = "unreadable", _("its text could not be taken out")
        ENCRYPTED = "encrypted", _("is locked with a password")

    class Rendering(models.TextChoices):
        """What came of rendering a page that shows its text with JavaScript only."""

        RENDERED = "rendered", _("its scripts were run")
        NOT_WANTED = "not_wanted", _("not rendered: that is not switched on for this website")
        NOT_OFFERED = "not_offered", _("not rendered: that is not switched on in this installation")
        NO_TEXT = "no_text", _("its scripts were run, and it has no text even then")
        TIMEOUT = "timeout", _("its scripts took too long")
        MEMORY = "memory", _("its scripts took too much memory")
        TOO_LARGE = "too_large", _("its scripts made it too large")
        CRASHED = "crashed", _("its scripts brought the browser down")
        UNUSABLE = "unusable", _("the browser could not be started")

    website = models.ForeignKey(Website, on_delete=models.CASCADE, related_name="pages", verbose_name=_("website"))
    run = models.ForeignKey(CrawlRun, on_delete=models.SET_NULL, null=True, related_name="pages")  # the last to see it
    document = models.ForeignKey(Document, on_delete=models.SET_NULL, null=True, related_name="pages")
    duplicate_of = models.ForeignKey("self", on_delete=models.SET_NULL, null=True, related_name="duplicates")
    url = models.CharField(_("address"), max_length=URL_MAX_CHARS)  # canonical, percent-encoded
    depth = models.PositiveSmallIntegerField(_("depth"), default=0)
    state = models.CharField(_("state"), max_length=10, choices=State.choices, default=State.QUEUED)
    reason = models.CharField(_("reason"), max_length=20, choices=Reason.choices, blank=True)
    detail = models.CharField(_("detail"), max_length=URL_MAX_CHARS, blank=True)
    rendering = models.CharField(_("scripts"), max_length=20, choices=Rendering.choices, blank=True, db_default="")
    http_status = models.PositiveSmallIntegerField(_("HTTP status"), null=True)
    attempts = models.PositiveSmallIntegerField(default=0)  # of fetching, then of processing
    not_before = models.DateTimeField(null=True)  # a fetch to be tried again
    send_at = models.DateTimeField(null=True)  # as in CrawlRun, while fetched
    sends = models.PositiveSmallIntegerField(default=0)
    etag = models.CharField(max_length=500, blank=True)
    last_modified = models.CharField(max_length=100, blank=True)
    body_hash = models.CharField(max_length=64, blank=True)
    text_hash = models.CharField(max_length=64, blank=True)  # held by one page of a website: the others are duplicates
    fetched_at = models.DateTimeField(_("read"), null=True)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    objects: ClassVar = PageQuerySet.as_manager()

    class Meta:
        verbose_name = _("page")
        verbose_name_plural = _("pages")
        constraints = [
            models.UniqueConstraint(fields=["website", "url"], name="page_once_per_website"),
            models.UniqueConstraint(
                fields=["website", "text_hash"], condition=~Q(text_hash=""), name="page_text_once_per_website"
            ),
        ]
        indexes = [
            models.Index(fields=["run", "state", "depth", "id"], name="page_frontier"),
            models.Index(fields=["website", "created_at", "id"], name="page_list"),
            models.Index(fields=["send_at"], condition=Q(send_at__isnull=False), name="page_due"),
        ]

    def __str__(self) -> str:
        return self.url


class PageBody(TenantOwned):
    """What the server sent for a page, compressed, kept only until its text is taken."""

    page = models.OneToOneField(Page, on_delete=models.CASCADE, primary_key=True, related_name="body")
    content_type = models.CharField(max_length=200, blank=True)
    robots_tag = models.CharField(max_length=200, blank=True)  # X-Robots-Tag
    compressed = models.BinaryField()  # zlib

    class Meta:
        verbose_name = _("page body")
        verbose_name_plural = _("page bodies")


class Host(models.Model):
    """A server being visited, shared by all tenants: one request in flight, and a pause between two."""

    name = models.CharField(max_length=300, primary_key=True)  # host:port
    next_request_at = models.DateTimeField(null=True)
    lease_until = models.DateTimeField(null=True)

    class Meta:
        verbose_name = _("host")
        verbose_name_plural = _("hosts")

    def __str__(self) -> str:
        return self.name
