"""Tenants, their people, their keys, what they use and what they are told.

Every model of another app that belongs to a tenant derives from `TenantOwned`, and is reached through
``Model.objects.for_tenant(tenant)``.
"""

from tenants.models.keys import APIKey, APIKeyQuerySet, hash_secret, new_secret
from tenants.models.people import EndUser, Membership
from tenants.models.tenant import Tenant, TenantOwned, TenantOwnedQuerySet

__all__ = [
    "APIKey",
    "APIKeyQuerySet",
    "EndUser",
    "Membership",
    "Tenant",
    "TenantOwned",
    "TenantOwnedQuerySet",
    "hash_secret",
    "new_secret",
]
