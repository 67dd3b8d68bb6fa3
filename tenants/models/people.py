"""Who belongs to a tenant: members, who manage it, and end users, who ask."""

import uuid

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from tenants.models.tenant import TenantOwned


class Membership(TenantOwned):
    """A Django user's place in a tenant."""

    class Role(models.TextChoices):
        OWNER = "owner", _("owner")
        STAFF = "staff", _("staff")

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=10, choices=Role.choices, default=Role.STAFF)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name = _("membership")
        verbose_name_plural = _("memberships")
        constraints = [models.UniqueConstraint(fields=["tenant", "user"], name="membership_once_per_tenant")]

    def __str__(self) -> str:
        return f"{self.user} · {self.tenant}"


class EndUser(TenantOwned):
    """A person of the tenant's own system, known by the id that system uses."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    external_id = models.CharField(max_length=200)
    tier = models.ForeignKey(
        "tenants.TierRule", on_delete=models.SET_NULL, null=True, blank=True, related_name="end_users"
    )
    is_tier_fixed = models.BooleanField(default=False)  # set by hand, so no rule changes it
    daily_limit = models.PositiveIntegerField(null=True, blank=True)  # null: the tier's, else the tenant's
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name = _("end user")
        verbose_name_plural = _("end users")
        constraints = [models.UniqueConstraint(fields=["tenant", "external_id"], name="end_user_once_per_tenant")]
        indexes = [models.Index(fields=["tenant", "created_at", "id"], name="end_user_list")]

    def __str__(self) -> str:
        return self.external_id
