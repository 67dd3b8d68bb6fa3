"""Tenants in the admin. A tenant is switched off, not deleted; a key is shown once and then only revoked."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.forms import ModelForm
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from core.record_admin import KeptAdmin, RecordAdmin
from tenants import models, services, telling_admin

__all__ = ["telling_admin"]


@admin.register(models.Tenant)
class TenantAdmin(KeptAdmin):
    list_display = ["name", "slug", "language", "is_active", "created_at"]
    list_filter = ["is_active", "language"]
    search_fields = ["name", "slug"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[models.Tenant]:
        return super().get_queryset(request).filter(version_of=None)

    def get_readonly_fields(self, request: HttpRequest, obj: models.Tenant | None = None) -> list[str]:
        return ["slug"] if obj else []


@admin.register(models.Membership)
class MembershipAdmin(admin.ModelAdmin):
    list_display = ["user", "tenant", "role", "created_at"]
    list_filter = ["role"]
    list_select_related = ["user", "tenant"]
    search_fields = ["user__username", "tenant__name"]
    autocomplete_fields = ["user", "tenant"]


@admin.register(models.APIKey)
class APIKeyAdmin(KeptAdmin):
    list_display = ["name", "public_id", "tenant", "is_operator", "created_at", "revoked_at"]
    list_select_related = ["tenant"]
    search_fields = ["name", "public_id", "tenant__name"]
    autocomplete_fields = ["tenant"]
    readonly_fields = ["public_id", "created_at", "revoked_at"]
    exclude = ["secret_hash"]
    actions = ["revoke"]

    def get_readonly_fields(self, request: HttpRequest, obj: models.APIKey | None = None) -> list[str]:
        return [*self.readonly_fields, "tenant", "is_operator", "scopes"] if obj else list(self.readonly_fields)

    def save_model(self, request: HttpRequest, obj: models.APIKey, form: ModelForm, change: bool) -> None:
        """Give a new key its secret, and show the text this once."""
        if change:
            super().save_model(request, obj, form, change)
            return
        obj.public_id, secret = models.new_secret()
        obj.secret_hash = models.hash_secret(secret)
        super().save_model(request, obj, form, change)
        text = f"{models.APIKey.PREFIX}{obj.public_id}.{secret}"
        notice = _("The key is: %(key)s – copy it now, it cannot be shown again.") % {"key": text}
        self.message_user(request, notice, messages.WARNING)

    @admin.action(description=_("Revoke the selected keys"))
    def revoke(self, request: HttpRequest, queryset: QuerySet[models.APIKey]) -> None:
        for key in queryset:
            key.revoke()
        self.message_user(request, _("The keys are refused from the next request on."), messages.SUCCESS)


@admin.register(models.EndUser)
class EndUserAdmin(KeptAdmin):
    list_display = ["external_id", "tenant", "tier", "daily_limit", "created_at"]
    list_select_related = ["tenant", "tier"]
    search_fields = ["external_id"]
    fields = ["tenant", "external_id", "tier", "is_tier_fixed", "daily_limit", "created_at"]
    readonly_fields = ["tenant", "external_id", "created_at"]
    actions = ["reset_limit"]

    @admin.action(description=_("Let today's limit of the selected end users begin anew"))
    def reset_limit(self, request: HttpRequest, queryset: QuerySet[models.EndUser]) -> None:
        for end_user in queryset.select_related("tenant"):
            services.reset_limit(tenant=end_user.tenant, end_user=end_user)
        self.message_user(request, _("Today's questions of these end users count from zero."), messages.SUCCESS)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False  # an end user appears with the first question

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Offer the tiers of the end user's own tenant only."""
        if db_field.name == "tier":
            shown = request.resolver_match.kwargs.get("object_id", "") if request.resolver_match else ""
            tenant_ids = models.EndUser.objects.filter(pk=str(shown)).values("tenant")
            kwargs["queryset"] = models.TierRule.objects.filter(tenant__in=tenant_ids)
        return super().formfield_for_foreignkey(db_field, request, **kwargs)


@admin.register(models.TierRule)
class TierRuleAdmin(KeptAdmin):
    list_display = ["name", "tenant", "rank", "min_questions", "min_active_days", "daily_limit"]
    list_select_related = ["tenant"]
    autocomplete_fields = ["tenant"]


@admin.register(
    models.TierChange,
    models.NotificationReceipt,
    models.DailyCounter,
    models.UsageHour,
    models.TokenDay,
    models.UsageEntry,
    models.EndUserDay,
    models.EndUserStatistics,
    models.LimitReset,
)
class TenantRecordAdmin(RecordAdmin):
    list_display = ["__str__", "tenant"]
    list_select_related = ["tenant"]


@admin.register(models.IdempotentRequest)
class IdempotentRequestAdmin(RecordAdmin):
    list_display = ["key", "tenant", "status", "created_at"]
    list_select_related = ["tenant"]
    exclude = ["body", "headers"]
