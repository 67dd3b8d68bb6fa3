"""What the system has to tell a member: notices above the thread, until each is dismissed."""

from collections.abc import Sequence
from dataclasses import dataclass

from django.contrib.auth.models import AnonymousUser, User
from django.db.models import Count, Window
from django.template.loader import render_to_string
from django.utils.translation import get_language

from chat.rendering import direction_of, local_digits
from tenants.models import Notification, NotificationReceipt, Tenant

SHOWN = 3


@dataclass(frozen=True)
class Notice:
    """``level`` is named in words only where it is more than information."""

    receipt_id: int
    level: str
    level_name: str
    subject: str
    subject_direction: str
    body: str
    body_direction: str


@dataclass(frozen=True)
class Notices:
    """The newest notices; ``more`` counts the unread ones behind them."""

    shown: Sequence[Notice]
    more: int
    shown_more: str

    def as_html(self) -> str:
        return render_to_string("chat/notices.html", {"notices": self})


def notices_of(user: User | AnonymousUser, tenant: Tenant) -> Notices:
    """Return the member's unread notices in this tenant, newest first, with one query."""
    if not user.is_authenticated:
        return Notices([], 0, "")
    unread = NotificationReceipt.objects.unread_by(user).for_tenant(tenant).select_related("notification")
    newest = list(unread.annotate(unread=Window(Count("pk"))).order_by("-created_at", "-pk")[:SHOWN])
    more = newest[0].unread - len(newest) if newest else 0  # type: ignore[attr-defined]  # annotated
    language = get_language() or "en"
    notices = [_notice(receipt, language) for receipt in newest]
    return Notices(notices, more, local_digits(more, "rtl" if language == "fa" else "ltr"))


def _notice(receipt: NotificationReceipt, language: str) -> Notice:
    notification = receipt.notification
    subject, body = notification.text_for(language)
    return Notice(
        receipt_id=receipt.pk,
        level=notification.level,
        level_name="" if notification.level == Notification.Level.INFO else notification.get_level_display(),
        subject=subject,
        subject_direction=direction_of(subject) or "auto",
        body=body,
        body_direction=direction_of(body) or "auto",
    )
