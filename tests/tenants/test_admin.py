"""What operators do with webhooks, limits and notifications by a click."""

import pytest
from django.contrib.auth.models import User
from django.urls import reverse

from core.states import State
from tenants import delivering, services
from tenants.models import Notification, WebhookDelivery, WebhookEvent

pytestmark = pytest.mark.django_db


@pytest.fixture
def operator(client, sent):
    client.force_login(User.objects.create_superuser("root"))
    return client


@pytest.fixture
def act(operator):
    """Return a function that applies an action to rows and returns the page that follows."""

    def do(action, *rows):
        page = reverse(f"admin:tenants_{rows[0]._meta.model_name}_changelist")
        chosen = {"action": action, "_selected_action": [str(row.pk) for row in rows]}
        return operator.post(page, chosen, follow=True).content.decode()

    return do


@pytest.fixture
def endpoint(tenant, receiver):
    return services.create_endpoint(tenant=tenant, url=receiver.url)[0]


def test_a_test_event_is_sent_and_refused_in_words_when_the_endpoint_is_off(act, endpoint, receiver):
    act("send_test", endpoint)
    delivering.deliver_due(endpoint.pk, seconds=5)
    assert len(receiver.requests) == 1

    act("disable", endpoint)
    assert "switched off" in act("send_test", endpoint)


def test_events_and_deliveries_are_replayed(act, endpoint, tenant, receiver):
    event = services.emit(tenant=tenant, type="query.answered", payload={})
    delivering.deliver_due(endpoint.pk, seconds=5)

    act("replay", event)
    assert WebhookDelivery.objects.get().state == State.QUEUED
    delivering.deliver_due(endpoint.pk, seconds=5)
    act("replay", WebhookDelivery.objects.get())
    delivering.deliver_due(endpoint.pk, seconds=5)

    assert receiver.ids == [str(event.pk)] * 3


def test_a_new_secret_is_shown_once_and_no_page_shows_what_secrets_are_made_of(act, operator, endpoint):
    shown = act("rotate", endpoint)
    assert "whsec_" in shown

    endpoint.refresh_from_db()
    page = operator.get(reverse("admin:tenants_webhookendpoint_change", args=[endpoint.pk])).content.decode()
    for hidden in (endpoint.secret_salt, endpoint.previous_salt, "whsec_"):
        assert hidden not in page


def test_a_delivery_shows_its_attempts(act, operator, endpoint, tenant, receiver):
    services.emit(tenant=tenant, type="query.answered", payload={})
    delivering.deliver_due(endpoint.pk, seconds=5)
    delivery = WebhookDelivery.objects.get()

    page = operator.get(reverse("admin:tenants_webhookdelivery_change", args=[delivery.pk])).content.decode()

    assert "200" in page
    assert WebhookEvent.objects.count() == 1


def test_a_users_limit_begins_anew(act, tenant):
    end_user = services.get_end_user(tenant=tenant, external_id="u1")
    services.reserve_question(tenant=tenant, end_user=end_user, question_id=end_user.pk)

    act("reset_limit", end_user)

    assert services.allowance(tenant=tenant, end_user=end_user).used == 0


def test_an_operator_writes_a_notification_to_all(operator, sent, django_capture_on_commit_callbacks):
    form = {"audience": "members", "level": "info", "subject": "Maintenance", "body": "Tonight."}
    with django_capture_on_commit_callbacks(execute=True):
        response = operator.post(reverse("admin:tenants_notification_add"), form)

    assert response.status_code == 302
    notification = Notification.objects.get()
    assert notification.tenant is None
    assert sent == [("tenants.send_system_notification", {"notification_id": str(notification.pk)})]
