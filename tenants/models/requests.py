"""Requests that a client may safely send again."""

from typing import ClassVar

from django.db import models
from django.utils.translation import gettext_lazy as _

from tenants.models.tenant import Tenant, TenantOwnedQuerySet


class IdempotentRequest(models.Model):
    """A POST that named itself by ``Idempotency-Key``, and the answer it got; kept for a day.

    Without a status the first request is still being served, until ``locked_until`` says it must have died. The
    tenant is empty for an operator's request.
    """

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, null=True, related_name="+", verbose_name=_("tenant"))
    key = models.CharField(max_length=255)
    fingerprint = models.CharField(max_length=64)  # of method, address and body
    status = models.PositiveSmallIntegerField(null=True)
    headers = models.JSONField(default=dict)
    body = models.TextField(blank=True)
    locked_until = models.DateTimeField()
    created_at = models.DateTimeField()

    objects: ClassVar = TenantOwnedQuerySet.as_manager()

    class Meta:
        verbose_name = _("idempotent request")
        verbose_name_plural = _("idempotent requests")
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "key"], nulls_distinct=False, name="idempotent_request_once_per_tenant"
            )
        ]
        indexes = [models.Index(fields=["created_at"], name="idempotent_request_age")]

    def __str__(self) -> str:
        return self.key
