"""Notifications: a copy for each member, an e-mail in the tenant's language, an event for its systems; each once."""

import smtplib
from datetime import timedelta

import pytest
import time_machine
from django.contrib.auth.models import User
from django.core import mail
from django.utils import timezone

from core.states import State
from tenants import announcing, delivering, services, sweeping, tasks
from tenants.models import Notification, NotificationReceipt, WebhookEvent
from tests.tenants.receiving import Reply

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def email(settings):
    settings.EMAIL_ENABLED = True
    settings.DEFAULT_FROM_EMAIL = "Pasokh <pasokh@example.org>"


@pytest.fixture
def owner(tenant):
    user = User.objects.create(username="owner", email="owner@acme.example")
    services.add_member(tenant=tenant, user=user, role="owner")
    return user


@pytest.fixture
def staff(tenant):
    user = User.objects.create(username="staff", email="staff@acme.example")
    services.add_member(tenant=tenant, user=user)
    return user


@pytest.fixture
def persian(db):
    """A Persian tenant with one owner."""
    tenant = services.create_tenant(slug="parsi", language="fa")
    user = User.objects.create(username="صاحب", email="owner@parsi.example")
    services.add_member(tenant=tenant, user=user, role="owner")
    return tenant


def announce(**values):
    words = {"subject": "Maintenance", "body": "Tonight.", "subject_fa": "نگهداری", "body_fa": "امشب."}
    notification = services.notify(**words | values)
    tasks.send_system_notification(notification_id=str(notification.pk))
    notification.refresh_from_db()
    return notification


def test_all_tenants_members_are_told_in_their_language_in_the_console_and_by_mail(tenant, persian, owner, staff, sent):
    notification = announce()

    assert notification.state == State.DONE
    assert {(copy.tenant, copy.user.username) for copy in NotificationReceipt.objects.all()} == {
        (tenant, "owner"), (tenant, "staff"), (persian, "صاحب"),
    }  # fmt: skip
    assert {(message.to[0], message.subject, message.body) for message in mail.outbox} == {
        ("owner@acme.example", "Maintenance", "Tonight."),
        ("staff@acme.example", "Maintenance", "Tonight."),
        ("owner@parsi.example", "نگهداری", "امشب."),
    }


def test_one_tenants_owners_alone_are_told_when_that_is_asked(tenant, persian, owner, staff, sent):
    announce(tenant=tenant, audience="owners")

    assert [message.to for message in mail.outbox] == [["owner@acme.example"]]


def test_running_the_task_again_tells_nobody_twice(tenant, receiver, owner, sent):
    services.create_endpoint(tenant=tenant, url=receiver.url)
    notification = announce()
    Notification.objects.update(state=State.QUEUED)

    tasks.send_system_notification(notification_id=str(notification.pk))

    assert len(mail.outbox) == NotificationReceipt.objects.count() == WebhookEvent.objects.count() == 1


def test_the_tenants_systems_get_it_as_an_event(persian, receiver, sent):
    endpoint, _secret = services.create_endpoint(tenant=persian, url=receiver.url)

    notification = announce(level="warning")

    assert WebhookEvent.objects.get().payload == {
        "notification_id": str(notification.pk), "level": "warning", "subject": "نگهداری", "body": "امشب.",
    }  # fmt: skip
    assert [name for name, _arguments in sent] == ["tenants.deliver_webhook_task"]
    assert endpoint.deliveries.count() == 1


def test_many_mails_go_out_in_slices_that_ring_for_the_next(tenant, sent, monkeypatch):
    monkeypatch.setattr(announcing, "MAILS_PER_SLICE", 2)
    for number in range(5):
        user = User.objects.create(username=str(number), email=f"{number}@acme.example")
        services.add_member(tenant=tenant, user=user)

    notification = announce()
    while sent:
        assert sent.pop(0)[0] == "tenants.send_system_notification"
        tasks.send_system_notification(notification_id=str(notification.pk))

    notification.refresh_from_db()
    assert (notification.state, len(mail.outbox)) == (State.DONE, 5)
    assert len({message.extra_headers["Message-ID"] for message in mail.outbox}) == 5


def test_a_mail_server_that_is_away_is_tried_again_by_the_sweeper_until_attempts_are_used_up(
    tenant, owner, sent, monkeypatch
):
    def away(self, messages):
        raise smtplib.SMTPServerDisconnected

    with monkeypatch.context() as patched, time_machine.travel(timezone.now()) as clock:
        patched.setattr("django.core.mail.backends.locmem.EmailBackend.send_messages", away)
        notification = announce()
        assert (notification.state, notification.attempts) == (State.QUEUED, 1)
        assert "SMTPServerDisconnected" in notification.error
        assert sweeping.ring_notifications(limit=10) == 0
        clock.shift(timedelta(hours=1))
        assert sweeping.ring_notifications(limit=10) == 1
        assert sweeping.ring_notifications(limit=10) == 0
        while notification.state == State.QUEUED:
            tasks.send_system_notification(notification_id=str(notification.pk))
            notification.refresh_from_db()

    assert (notification.state, notification.attempts) == (State.FAILED, announcing.MAX_ATTEMPTS)
    assert NotificationReceipt.objects.unread_by(owner).count() == 1  # the console shows it all the same


def test_without_e_mail_the_copy_says_so_and_stays_in_the_console(tenant, owner, sent, settings):
    settings.EMAIL_ENABLED = False

    assert announce().state == State.DONE

    copy = NotificationReceipt.objects.get()
    assert (copy.emailed_at, copy.email_error) == (None, announcing.NO_EMAIL_SET_UP)
    assert mail.outbox == []


def test_a_subject_with_line_breaks_cannot_add_headers(tenant, owner, sent):
    announce(subject="Hello\r\nBcc: victim@example.org")

    assert mail.outbox[0].recipients() == ["owner@acme.example"]
    assert "\n" not in mail.outbox[0].subject


def test_a_member_reads_only_its_own_copies(tenant, owner, staff, sent):
    announce()
    theirs = NotificationReceipt.objects.get(user=staff)

    assert [copy.notification.subject for copy in services.unread_notifications(user=owner)] == ["Maintenance"]
    assert services.mark_read(user=owner, receipt_ids=[theirs.pk]) == 0
    assert services.mark_read(user=owner) == 1
    assert services.unread_notifications(user=owner) == []
    assert len(services.unread_notifications(user=staff)) == 1


def test_unread_notifications_take_one_query(tenant, owner, sent, django_assert_num_queries):
    for _ in range(3):
        announce()

    with django_assert_num_queries(1):  # copies with their notifications and tenants
        copies = services.unread_notifications(user=owner)
        assert {copy.tenant.name + copy.notification.subject for copy in copies} == {"acmeMaintenance"}


def test_the_owner_of_an_endpoint_that_was_switched_off_gets_a_mail(tenant, owner, staff, receiver, sent):
    endpoint, _secret = services.create_endpoint(tenant=tenant, url=receiver.url)
    receiver.answer = lambda request: Reply(410)
    services.emit(tenant=tenant, type="query.answered", payload={})

    delivering.deliver_due(endpoint.pk, seconds=5)
    assert sweeping.ring_notifications(limit=10) == 1
    name, arguments = sent[-1]
    assert name == "tenants.send_system_notification"
    tasks.send_system_notification(**arguments)

    (message,) = mail.outbox
    assert message.to == ["owner@acme.example"]
    assert endpoint.url in message.body
