"""Webhooks and notifications in the admin. Secrets are never shown; a new one is, once, to who asked for it."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.forms import ModelForm
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from core.errors import PasokhError
from core.record_admin import KeptAdmin, RecordAdmin
from tenants import models, services


@admin.register(models.WebhookEndpoint)
class WebhookEndpointAdmin(RecordAdmin):
    """Shown only: its URL is checked, and its secret given out, where the tenant manages it (the API)."""

    list_display = ["url", "tenant", "is_enabled", "disabled_reason", "failing_since", "paused_until"]
    list_filter = ["is_enabled", "disabled_reason"]
    list_select_related = ["tenant"]
    search_fields = ["url", "tenant__name"]
    exclude = ["secret_salt", "previous_salt"]
    actions = ["enable", "disable", "send_test", "rotate"]

    @admin.action(description=_("Switch the selected endpoints on"))
    def enable(self, request: HttpRequest, queryset: QuerySet[models.WebhookEndpoint]) -> None:
        for endpoint in queryset:
            services.enable_endpoint(endpoint=endpoint)

    @admin.action(description=_("Switch the selected endpoints off"))
    def disable(self, request: HttpRequest, queryset: QuerySet[models.WebhookEndpoint]) -> None:
        for endpoint in queryset:
            services.disable_endpoint(endpoint=endpoint)

    @admin.action(description=_("Send a test event to the selected endpoints"))
    def send_test(self, request: HttpRequest, queryset: QuerySet[models.WebhookEndpoint]) -> None:
        for endpoint in queryset:
            try:
                services.send_test_event(endpoint=endpoint)
            except PasokhError as exc:
                self.message_user(request, f"{endpoint}: {exc}", messages.ERROR)

    @admin.action(description=_("Give the selected endpoints a new secret"))
    def rotate(self, request: HttpRequest, queryset: QuerySet[models.WebhookEndpoint]) -> None:
        for endpoint in queryset:
            notice = _("The new secret of %(url)s is: %(secret)s – copy it now, it cannot be shown again.")
            secret = services.rotate_secret(endpoint=endpoint)
            self.message_user(request, notice % {"url": endpoint.url, "secret": secret}, messages.WARNING)


@admin.register(models.WebhookEvent)
class WebhookEventAdmin(RecordAdmin):
    list_display = ["id", "type", "tenant", "created_at"]
    list_filter = ["type"]
    list_select_related = ["tenant"]
    search_fields = ["=id", "key"]
    actions = ["replay"]

    @admin.action(description=_("Send the selected events again to every endpoint that asks for them"))
    def replay(self, request: HttpRequest, queryset: QuerySet[models.WebhookEvent]) -> None:
        count = sum(services.replay_event(event=event) for event in queryset.select_related("tenant"))
        self.message_user(request, _("%(count)s deliveries are queued.") % {"count": count}, messages.SUCCESS)


class AttemptInline(admin.TabularInline):
    model = models.WebhookAttempt
    fields = ["number", "started_at", "duration_ms", "status", "error", "response_excerpt"]
    readonly_fields = ["number", "started_at", "duration_ms", "status", "error", "response_excerpt"]
    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(models.WebhookDelivery)
class WebhookDeliveryAdmin(RecordAdmin):
    list_display = ["event", "endpoint", "state", "attempts", "next_attempt_at", "last_status", "last_error"]
    list_filter = ["state"]
    list_select_related = ["event", "endpoint"]
    search_fields = ["=event__id", "endpoint__url"]
    exclude = ["lease_token"]
    inlines = [AttemptInline]
    actions = ["replay"]

    @admin.action(description=_("Send the selected deliveries again"))
    def replay(self, request: HttpRequest, queryset: QuerySet[models.WebhookDelivery]) -> None:
        for delivery in queryset.select_related("event", "endpoint"):
            try:
                services.replay_delivery(delivery=delivery)
            except PasokhError as exc:
                self.message_user(request, f"{delivery.endpoint}: {exc}", messages.ERROR)


@admin.register(models.WebhookAttempt)
class WebhookAttemptAdmin(RecordAdmin):
    list_display = ["delivery_id", "tenant", "number", "started_at", "duration_ms", "status", "error"]
    list_select_related = ["tenant"]


@admin.register(models.Notification)
class NotificationAdmin(RecordAdmin):
    """Written here once, then handed out; what was sent is not changed."""

    list_display = ["subject", "tenant", "audience", "level", "state", "created_at"]
    list_filter = ["state", "level", "audience"]
    list_select_related = ["tenant"]
    readonly_fields = ["state", "error", "created_at", "finished_at"]

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return KeptAdmin.has_add_permission(self, request)

    def save_model(self, request: HttpRequest, obj: models.Notification, form: ModelForm, change: bool) -> None:
        written = ("tenant", "audience", "level", "subject", "body", "subject_fa", "body_fa")
        obj.pk = services.notify(**{name: getattr(obj, name) for name in written}).pk
