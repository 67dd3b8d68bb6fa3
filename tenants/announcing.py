"""Handing out a notification: a copy for each member, an event for each tenant, an e-mail for each copy."""

import smtplib
import uuid
from datetime import timedelta

import structlog
from django.conf import settings
from django.core.mail import EmailMessage, get_connection
from django.core.mail.backends.base import BaseEmailBackend
from django.utils import timezone

from core.states import State
from tenants import outbox
from tenants.models import (
    EventType,
    Membership,
    Notification,
    NotificationReceipt,
    Tenant,
    WebhookEndpoint,
    WebhookEvent,
)

log = structlog.get_logger(__name__)

MAILS_PER_SLICE = 50
MAX_ATTEMPTS = 8
WORN_OUT = "Handing it out stopped its worker several times."
NO_EMAIL_SET_UP = "no e-mail is set up here"
NO_ADDRESS = "the member has no e-mail address"
REFUSED = "the mail server refused the address"


def claim(notification_id: uuid.UUID | str) -> Notification | None:
    """Take the notification for this worker, or return None if it is done or another's."""
    notification: Notification | None = Notification.objects.take({"pk": notification_id})
    return notification


def hand_out(notification: Notification) -> list[WebhookEvent]:
    """Write the copies and the events, each once however often this runs; return the events."""
    tenants = Tenant.objects.filter(is_active=True)
    if notification.tenant_id is not None:
        tenants = tenants.filter(pk=notification.tenant_id)
    members = Membership.objects.filter(tenant__in=tenants, user__is_active=True)
    if notification.audience == Notification.Audience.OWNERS:
        members = members.filter(role=Membership.Role.OWNER)
    copies = [
        NotificationReceipt(notification=notification, tenant_id=tenant_id, user_id=user_id)
        for tenant_id, user_id in members.values_list("tenant_id", "user_id")
    ]
    NotificationReceipt.objects.bulk_create(copies, ignore_conflicts=True, batch_size=1000)
    listening = tenants.filter(pk__in=WebhookEndpoint.objects.values("tenant"))
    events = [_record_event(notification, tenant) for tenant in listening.iterator()]
    return [event for event in events if event is not None]


def send_mails(notification: Notification) -> bool:
    """E-mail some of the copies that nobody has been sent; return whether some are left.

    A copy is marked after its mail is sent: a worker that dies in between sends that one mail twice, with the same
    Message-ID.

    Raises:
        OSError, smtplib.SMTPException: if the mail server is away.
    """
    copies = notification.receipts.filter(emailed_at=None, email_error="")
    if not settings.EMAIL_ENABLED:
        copies.update(email_error=NO_EMAIL_SET_UP)
        return False
    copies.filter(user__email="").update(email_error=NO_ADDRESS)
    batch = list(copies.select_related("user", "tenant").order_by("pk")[:MAILS_PER_SLICE])
    if batch:
        with get_connection() as mail_server:
            for copy in batch:
                _send_mail(notification, copy, mail_server)
    return copies.exists()


def finish(notification: Notification, *, is_done: bool) -> None:
    """Close the notification, or put it back for its next slice."""
    values = {"state": State.DONE, "finished_at": timezone.now()} if is_done else {"state": State.QUEUED}
    notification.let_go(attempts=0, error="", **values)


def close_worn_out(*, limit: int) -> int:
    """Fail notifications that several workers died on; return how many."""
    worn_out = Notification.objects.worn_out()
    ids = list(worn_out.values_list("pk", flat=True)[:limit])
    return worn_out.filter(pk__in=ids).update(
        state=State.FAILED, error=WORN_OUT, finished_at=timezone.now(), **Notification.UNCLAIMED
    )


def put_off(notification: Notification, error: str) -> None:
    """Note a failure; the sweeper rings again after a growing while, until attempts are used up."""
    now = timezone.now()
    is_over = notification.attempts >= MAX_ATTEMPTS
    notification.let_go(
        state=State.FAILED if is_over else State.QUEUED,
        finished_at=now if is_over else None,
        next_attempt_at=now + timedelta(seconds=30 * 2**notification.attempts),
        error=error[:200],
    )


def _record_event(notification: Notification, tenant: Tenant) -> WebhookEvent | None:
    subject, body = notification.text_for(tenant.language)
    return outbox.record_event(
        tenant=tenant,
        type=EventType.SYSTEM_NOTIFICATION,
        key=str(notification.pk),
        payload={
            "notification_id": str(notification.pk),
            "level": notification.level,
            "subject": subject,
            "body": body,
        },
    )


def _send_mail(notification: Notification, copy: NotificationReceipt, mail_server: BaseEmailBackend) -> None:
    subject, body = notification.text_for(copy.tenant.language)
    host = settings.DEFAULT_FROM_EMAIL.rpartition("@")[2].rstrip(">")
    mail = EmailMessage(
        subject=" ".join(subject.split()),
        body=body,
        to=[copy.user.email],
        headers={"Message-ID": f"<{notification.pk}.{copy.pk}@{host}>"},
        connection=mail_server,
    )
    try:
        mail.send()
    except smtplib.SMTPRecipientsRefused:
        NotificationReceipt.objects.filter(pk=copy.pk).update(email_error=REFUSED)
        log.warning("a mail server refused a member's address", notification=str(notification.pk), receipt=copy.pk)
    else:
        NotificationReceipt.objects.filter(pk=copy.pk).update(emailed_at=timezone.now())
