"""Websites and what came of crawling them: a row and a reason for every URL."""

from typing import Any
from urllib.parse import unquote, urlsplit

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html_join
from django.utils.text import Truncator
from django.utils.translation import gettext_lazy as _

from core.errors import PasokhError
from core.record_admin import KeptAdmin, RecordAdmin
from crawl import services, website_fields
from crawl.models import CrawlRun, Host, Page, PageBody, Upload, Website
from crawl.rendering import usable
from crawl.standing import condition_of

ADDRESS_MAX_CHARS = 60


class WebsiteForm(forms.ModelForm):
    """A new website goes through the service, which checks its URL and returns the one that exists already."""

    class Meta:
        model = Website
        fields = [
            "tenant", "root_url", "name", "include_patterns", "exclude_patterns", "content_selectors",
            "exclude_selectors", "renders_javascript", "max_pages", "max_depth", "crawl_every_hours",
        ]  # fmt: skip

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "renders_javascript" in self.fields:  # those who may only look have no fields
            self.fields["renders_javascript"].disabled = not usable.is_offered()

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        if self.errors:
            return cleaned
        try:
            if self.instance._state.adding:
                self.instance = services.add_website(
                    tenant=cleaned["tenant"], url=cleaned["root_url"], **self.given(cleaned)
                )
                cleaned["root_url"] = self.instance.root_url
            else:
                website_fields.checked(self.given(cleaned))
        except PasokhError as exc:
            raise ValidationError(str(exc)) from exc
        return cleaned

    def given(self, cleaned: dict[str, Any]) -> dict[str, Any]:
        """Return the form's values in the words of the service."""
        return {
            "name": cleaned["name"],
            "include": cleaned["include_patterns"] or [],
            "exclude": cleaned["exclude_patterns"] or [],
            "content": cleaned["content_selectors"] or [],
            "leave_out": cleaned["exclude_selectors"] or [],
            "max_pages": cleaned["max_pages"],
            "max_depth": cleaned["max_depth"],
            "crawl_every_hours": cleaned["crawl_every_hours"],
        } | ({"renders_javascript": cleaned["renders_javascript"]} if usable.is_offered() else {})


@admin.register(Website)
class WebsiteAdmin(KeptAdmin):
    form = WebsiteForm
    list_display = ["__str__", "root_url", "tenant", "max_pages", "crawl_every_hours", "next_crawl_at", "created_at"]
    list_select_related = ["tenant"]
    search_fields = ["root_url", "name"]
    autocomplete_fields = ["tenant"]
    actions = ["crawl_now"]

    def get_readonly_fields(self, request: HttpRequest, obj: Website | None = None) -> list[str]:
        return ["tenant", "root_url", "next_crawl_at", "outcomes"] if obj else []

    @admin.display(description=_("what became of its pages"))
    def outcomes(self, website: Website) -> str:
        rows = services.outcomes(website)
        lines = ((Page.State(row["state"]).label, row["text"], row["count"]) for row in rows)
        return format_html_join("", "{} {}: {}<br>", lines) or "–"

    def save_model(self, request: HttpRequest, obj: Website, form: Any, change: bool) -> None:
        services.update_website(website=Website.objects.get(pk=obj.pk), **form.given(form.cleaned_data))

    @admin.action(description=_("Crawl the selected websites now"))
    def crawl_now(self, request: HttpRequest, queryset: QuerySet[Website]) -> None:
        for website in queryset:
            try:
                services.start_crawl(website=website)
            except PasokhError as exc:
                self.message_user(request, f"{website}: {exc}", messages.WARNING)
            else:
                self.message_user(request, _("%(website)s is being crawled.") % {"website": website}, messages.SUCCESS)


@admin.register(CrawlRun)
class CrawlRunAdmin(RecordAdmin):
    list_display = [
        "website",
        "tenant",
        "state",
        "stage",
        "condition",
        "moved_at",
        "created_at",
        "finished_at",
        "error",
    ]
    list_filter = ["state"]
    list_select_related = ["website", "tenant"]
    actions = ["cancel"]

    @admin.display(description=_("condition"))
    def condition(self, run: CrawlRun) -> str:
        return str(condition_of(run).label)

    @admin.action(description=_("Stop the selected crawls"))
    def cancel(self, request: HttpRequest, queryset: QuerySet[CrawlRun]) -> None:
        stopped = sum(services.cancel_crawl(run=run) for run in queryset)
        self.message_user(request, _("%(count)s crawls were stopped.") % {"count": stopped}, messages.SUCCESS)


@admin.register(Page)
class PageAdmin(RecordAdmin):
    list_display = ["address", "website", "state", "reason", "detail", "rendering", "http_status", "fetched_at"]
    list_filter = ["state", "reason", "rendering"]
    list_select_related = ["website"]
    search_fields = ["url"]

    @admin.display(description=_("address"), ordering="url")
    def address(self, page: Page) -> str:
        """Return the part of the URL that tells pages apart, as people read it."""
        parts = urlsplit(page.url)
        return Truncator(unquote(parts.path + (f"?{parts.query}" if parts.query else ""))).chars(ADDRESS_MAX_CHARS)


@admin.register(PageBody)
class PageBodyAdmin(RecordAdmin):
    list_display = ["page", "content_type"]
    list_select_related = ["page"]
    exclude = ["compressed"]


@admin.register(Host)
class HostAdmin(RecordAdmin):
    list_display = ["name", "next_request_at", "lease_until"]
    search_fields = ["name"]


@admin.register(Upload)
class UploadAdmin(RecordAdmin):
    list_display = ["name", "tenant", "kind", "size", "state", "error", "created_at"]
    list_filter = ["state", "kind"]
    list_select_related = ["tenant"]
    search_fields = ["name", "title"]
    exclude = ["body"]
