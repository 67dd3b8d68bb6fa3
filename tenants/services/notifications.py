"""Tell the people of tenants something, and what they have not read yet."""

from collections.abc import Iterable

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from core.enqueue import send
from tenants import tasks
from tenants.models import Notification, NotificationReceipt, Tenant


@transaction.atomic
def notify(
    *,
    subject: str,
    body: str,
    tenant: Tenant | None = None,
    subject_fa: str = "",
    body_fa: str = "",
    level: str = Notification.Level.INFO,
    audience: str = Notification.Audience.MEMBERS,
) -> Notification:
    """Queue a notification to the tenant's members, or without a tenant to all tenants'; the task hands it out."""
    notification = Notification.objects.create(
        tenant=tenant,
        subject=subject,
        body=body,
        subject_fa=subject_fa,
        body_fa=body_fa,
        level=level,
        audience=audience,
    )
    send(tasks.send_system_notification, {"notification_id": str(notification.pk)}, tenant_id=notification.tenant_id)
    return notification


def unread_notifications(*, user: User, limit: int = 20) -> list[NotificationReceipt]:
    """Return the user's copies that are not marked as read, newest first, with their notifications."""
    unread = NotificationReceipt.objects.unread_by(user).select_related("notification", "tenant")
    return list(unread.order_by("-created_at", "-pk")[:limit])


def mark_read(*, user: User, receipt_ids: Iterable[int] | None = None) -> int:
    """Mark the user's own copies as read, all of them unless ids are given; return how many were unread."""
    unread = NotificationReceipt.objects.unread_by(user)
    if receipt_ids is not None:
        unread = unread.filter(pk__in=list(receipt_ids))
    return unread.update(read_at=timezone.now())
