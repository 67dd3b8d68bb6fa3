"""Tenants, their people, their keys, what they use and what they are told.

Every model of another app that belongs to a tenant derives from `TenantOwned`, and is reached through
``Model.objects.for_tenant(tenant)``.
"""

from tenants.models.keys import APIKey, APIKeyQuerySet, hash_secret, new_secret
from tenants.models.notifications import Notification, NotificationReceipt
from tenants.models.people import EndUser, Membership
from tenants.models.requests import IdempotentRequest
from tenants.models.tenant import KnowledgeQuerySet, Tenant, TenantOwned, TenantOwnedQuerySet
from tenants.models.tiers import TierChange, TierRule
from tenants.models.usage import (
    DailyCounter,
    EndUserDay,
    EndUserStatistics,
    LimitReset,
    TokenDay,
    UsageEntry,
    UsageHour,
)
from tenants.models.webhooks import EventType, WebhookAttempt, WebhookDelivery, WebhookEndpoint, WebhookEvent

__all__ = [
    "APIKey",
    "APIKeyQuerySet",
    "DailyCounter",
    "EndUser",
    "EndUserDay",
    "EndUserStatistics",
    "EventType",
    "IdempotentRequest",
    "KnowledgeQuerySet",
    "LimitReset",
    "Membership",
    "Notification",
    "NotificationReceipt",
    "Tenant",
    "TenantOwned",
    "TenantOwnedQuerySet",
    "TierChange",
    "TierRule",
    "TokenDay",
    "UsageEntry",
    "UsageHour",
    "WebhookAttempt",
    "WebhookDelivery",
    "WebhookEndpoint",
    "WebhookEvent",
    "hash_secret",
    "new_secret",
]
