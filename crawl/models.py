"""What is crawled: a website, its runs, and a row for every URL with its state and the reason for it."""

import uuid

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from core.states import State
from knowledge.models import Document
from tenants.models import TenantOwned


class Website(TenantOwned):
    """A site that a tenant wants answered from."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    root_url = models.CharField(max_length=2000)
    name = models.CharField(max_length=200, blank=True)
    include_patterns = models.JSONField(
        default=list, blank=True
    )  # path globs; empty: everything below root_url's folder
    exclude_patterns = models.JSONField(default=list, blank=True)
    max_pages = models.PositiveIntegerField(default=1000)
    max_depth = models.PositiveSmallIntegerField(default=20)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name = _("website")
        verbose_name_plural = _("websites")
        constraints = [models.UniqueConstraint(fields=["tenant", "root_url"], name="website_once_per_tenant")]

    def __str__(self) -> str:
        return self.name or self.root_url


class CrawlRun(TenantOwned):
    """One crawl of a website: a chain of short slices, each holding the lease while it works."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    website = models.ForeignKey(Website, on_delete=models.CASCADE, related_name="runs")
    state = models.CharField(max_length=10, choices=State.choices, default=State.QUEUED)
    stage = models.CharField(max_length=20, blank=True)  # robots, sitemap, pages
    attempts = models.PositiveSmallIntegerField(default=0)  # slices in a row that died without finishing
    not_before = models.DateTimeField(null=True)  # a polite pause longer than a slice
    sent_at = models.DateTimeField(null=True)
    lease_until = models.DateTimeField(null=True)
    lease_token = models.UUIDField(null=True)
    is_cancelled = models.BooleanField(default=False)
    robots = models.TextField(blank=True)
    error = models.TextField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name = _("crawl run")
        verbose_name_plural = _("crawl runs")
        constraints = [
            models.UniqueConstraint(
                fields=["website"],
                condition=Q(state__in=[State.QUEUED, State.RUNNING]),
                name="crawl_run_one_active_per_website",
            )
        ]
        indexes = [models.Index(fields=["state", "not_before"], name="crawl_run_due")]

    def __str__(self) -> str:
        return f"{self.website} {self.created_at:%Y-%m-%d %H:%M}"


class Page(TenantOwned):
    """One URL of a website: the frontier, the memory between crawls, and the report to the tenant."""

    class State(models.TextChoices):
        QUEUED = "queued", _("queued")  # to be fetched in this run
        FETCHED = "fetched", _("fetched")  # body stored, text not yet taken
        DONE = "done", _("done")
        SKIPPED = "skipped", _("skipped")  # with a reason: robots, noindex, not HTML, duplicate …
        FAILED = "failed", _("failed")

    website = models.ForeignKey(Website, on_delete=models.CASCADE, related_name="pages")
    run = models.ForeignKey(CrawlRun, on_delete=models.SET_NULL, null=True, related_name="pages")  # the last to see it
    document = models.ForeignKey(Document, on_delete=models.SET_NULL, null=True, related_name="pages")
    url = models.CharField(max_length=2000)  # canonical, percent-encoded
    depth = models.PositiveSmallIntegerField(default=0)
    state = models.CharField(max_length=10, choices=State.choices, default=State.QUEUED)
    reason = models.CharField(max_length=200, blank=True)
    http_status = models.PositiveSmallIntegerField(null=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    not_before = models.DateTimeField(null=True)
    sent_at = models.DateTimeField(null=True)
    etag = models.CharField(max_length=500, blank=True)
    last_modified = models.CharField(max_length=100, blank=True)
    body_hash = models.CharField(max_length=64, blank=True)
    fetched_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name = _("page")
        verbose_name_plural = _("pages")
        constraints = [models.UniqueConstraint(fields=["website", "url"], name="page_once_per_website")]
        indexes = [models.Index(fields=["run", "state", "depth", "id"], name="page_frontier")]

    def __str__(self) -> str:
        return self.url


class PageBody(TenantOwned):
    """What the server sent for a page, compressed, kept only until its text is taken."""

    page = models.OneToOneField(Page, on_delete=models.CASCADE, primary_key=True, related_name="body")
    content_type = models.CharField(max_length=200, blank=True)
    final_url = models.CharField(max_length=2000)
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
