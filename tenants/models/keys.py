"""Keys of the HTTP API."""

import hashlib
import re
import secrets
import uuid
from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import connection, models
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from django.utils.translation import gettext_lazy as _

from core.postgres import prepared
from core.postgres.columns import Columns
from tenants.models.tenant import Tenant, TenantOwned, TenantOwnedQuerySet
from tenants.scopes import Scope, all_scopes


class APIKeyQuerySet(TenantOwnedQuerySet["APIKey"]):
    def find(self, key: str) -> "APIKey | None":
        """Return the usable key with this text, or None; a wrong secret and an unknown id look alike."""
        form = APIKey.FORM.fullmatch(key)
        if form is None:
            return None
        public_id, secret = form.groups()
        candidate = _find(public_id)
        stored = candidate.secret_hash if candidate else hash_secret("")
        if not constant_time_compare(stored, hash_secret(secret)) or candidate is None:
            return None
        return candidate if candidate.tenant is None or candidate.tenant.is_active else None


class APIKey(TenantOwned):
    """A server's right to act for a tenant: ``pk_<public id>.<256-bit secret>``, of which only a hash stays.

    A key without a tenant is an operator's: it sees workers, schedules and every task, and acts for no tenant.
    The secret is random, so one round of SHA-256 is enough and costs microseconds a request.
    """

    PREFIX = "pk_"
    FORM = re.compile(r"pk_([0-9a-f]{16})\.([A-Za-z0-9_-]{43})")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(  # type: ignore[assignment]  # optional here
        Tenant, on_delete=models.CASCADE, null=True, blank=True, related_name="+", verbose_name=_("tenant")
    )
    is_operator = models.BooleanField(default=False)
    scopes = ArrayField(models.CharField(max_length=20, choices=Scope.choices), default=all_scopes, blank=True)
    name = models.CharField(max_length=100)
    public_id = models.CharField(max_length=16, unique=True, editable=False)
    secret_hash = models.CharField(max_length=64, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    objects: ClassVar = APIKeyQuerySet.as_manager()

    class Meta:
        verbose_name = _("API key")
        verbose_name_plural = _("API keys")
        constraints = [
            models.CheckConstraint(
                condition=models.Q(is_operator=True, tenant=None) | models.Q(is_operator=False, tenant__isnull=False),
                name="api_key_of_tenant_or_operator",
            )
        ]

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


_KEY, _TENANT = Columns(APIKey, "key"), Columns(Tenant, "tenant")
_FIND = f"""
    SELECT {_KEY}, {_TENANT} FROM tenants_apikey key LEFT JOIN tenants_tenant tenant ON tenant.id = key.tenant_id
    WHERE key.public_id = %s AND key.revoked_at IS NULL
"""  # noqa: S608 -- its parts are columns


def _find(public_id: str) -> APIKey | None:
    """Read a key with its tenant; by hand, because every request does."""
    with connection.cursor() as cursor:
        prepared.execute(cursor, _FIND, [public_id])
        row = cursor.fetchone()
    if row is None:
        return None
    left = iter(row)
    key = _KEY.take(left)
    if key.tenant_id is not None:
        key.tenant = _TENANT.take(left)
    return key
