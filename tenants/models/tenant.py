"""The customer, and what every row of theirs derives from."""

import uuid
from typing import ClassVar, Self, TypeVar

from django.conf import settings
from django.db import models
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
