"""Tenants, their people, their keys and the end users they bring.

Every model of another app that belongs to a tenant derives from `TenantOwned`, and is reached through
``Model.objects.for_tenant(tenant)``.
"""

import hashlib
import re
import secrets
import uuid
from typing import ClassVar, Self, TypeVar

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from django.utils.translation import gettext_lazy as _

_Row_co = TypeVar("_Row_co", bound="TenantOwned", covariant=True)


class Tenant(models.Model):
    """A customer: owns websites, knowledge, conversations, keys and end users."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    slug = models.SlugField(max_length=63, unique=True)
    name = models.CharField(max_length=200)
    language = models.CharField(max_length=2, choices=settings.LANGUAGES, default="en")
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name = _("tenant")
        verbose_name_plural = _("tenants")

    def __str__(self) -> str:
        return self.name


class TenantOwnedQuerySet(models.QuerySet[_Row_co]):
    def for_tenant(self, tenant: Tenant) -> Self:
        return self.filter(tenant=tenant)


class TenantOwned(models.Model):
    """A row that belongs to exactly one tenant and goes with it."""

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="+", verbose_name=_("tenant"))

    objects: ClassVar = TenantOwnedQuerySet.as_manager()

    class Meta:
        abstract = True


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


class APIKeyQuerySet(TenantOwnedQuerySet["APIKey"]):
    def find(self, key: str) -> "APIKey | None":
        """Return the usable key with this text, or None; a wrong secret and an unknown id look alike."""
        form = APIKey.FORM.fullmatch(key)
        if form is None:
            return None
        public_id, secret = form.groups()
        candidate = self.select_related("tenant").filter(public_id=public_id, revoked_at=None).first()
        stored = candidate.secret_hash if candidate else hash_secret("")
        if not constant_time_compare(stored, hash_secret(secret)) or candidate is None:
            return None
        return candidate if candidate.tenant.is_active else None


class APIKey(TenantOwned):
    """A server's right to act for a tenant: ``pk_<public id>.<256-bit secret>``, of which only a hash stays.

    The secret is random, so one round of SHA-256 is enough and costs microseconds a request.
    """

    PREFIX = "pk_"
    FORM = re.compile(r"pk_([0-9a-f]{16})\.([A-Za-z0-9_-]{43})")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=100)
    public_id = models.CharField(max_length=16, unique=True, editable=False)
    secret_hash = models.CharField(max_length=64, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    objects: ClassVar = APIKeyQuerySet.as_manager()

    class Meta:
        verbose_name = _("API key")
        verbose_name_plural = _("API keys")

    def __str__(self) -> str:
        return f"{self.name} ({self.PREFIX}{self.public_id}…)"

    def revoke(self) -> None:
        """Refuse this key from the next request on; a second call changes nothing."""
        if self.revoked_at is None:
            self.revoked_at = timezone.now()
            self.save(update_fields=["revoked_at"])


def hash_secret(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def new_secret() -> tuple[str, str]:
    """Return a public id (64 bits) and a secret (256 bits), both random and URL-safe."""
    return secrets.token_hex(8), secrets.token_urlsafe(32)


class EndUser(TenantOwned):
    """A person of the tenant's own system, known by the id that system uses."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    external_id = models.CharField(max_length=200)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name = _("end user")
        verbose_name_plural = _("end users")
        constraints = [models.UniqueConstraint(fields=["tenant", "external_id"], name="end_user_once_per_tenant")]

    def __str__(self) -> str:
        return self.external_id
