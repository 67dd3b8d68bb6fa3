"""The outbox: what is written, sent, signed and replayed."""

import json
from datetime import timedelta

import pytest
import time_machine
from django.utils import timezone
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from core.outbound import OutboundError
from core.states import State
from tenants import delivering, outbox, services, sweeping, tasks
from tenants.errors import EventTypeUnknownError, WebhookDisabledError
from tenants.models import WebhookDelivery, WebhookEndpoint, WebhookEvent
from tests.tenants.outgoing import deliver

pytestmark = pytest.mark.django_db


# --- Writing -----------------------------------------------------------------------------------------
def test_an_event_becomes_one_delivery_for_each_endpoint_that_asks_for_it(tenant, receiver, sent):
    everything, _ = services.create_endpoint(tenant=tenant, url=receiver.url)
    asking, _ = services.create_endpoint(tenant=tenant, url=receiver.url, event_types=["query.answered"])
    services.create_endpoint(tenant=tenant, url=receiver.url, event_types=["usage.hourly"])
    off, _ = services.create_endpoint(tenant=tenant, url=receiver.url)
    services.disable_endpoint(endpoint=off)
    stranger, _ = services.create_endpoint(tenant=services.create_tenant(slug="other"), url=receiver.url)

    event = services.emit(tenant=tenant, type="query.answered", payload={})

    assert {delivery.endpoint for delivery in event.deliveries.all()} == {everything, asking}
    assert not stranger.deliveries.exists()


def test_no_event_is_kept_when_nobody_asks_for_it(tenant, sent):
    assert services.emit(tenant=tenant, type="query.answered", payload={}) is None
    assert not WebhookEvent.objects.exists()


def test_an_event_with_the_same_key_is_told_once(endpoint, emit):
    assert emit(key="42") == emit(key="42")
    assert WebhookDelivery.objects.count() == 1


def test_ringing_waits_for_the_commit_and_is_left_out_while_the_endpoint_is_served(
    endpoint, emit, sent, settings, django_capture_on_commit_callbacks
):
    with django_capture_on_commit_callbacks(execute=True):
        event = emit()
        assert sent == []
    delivery = event.deliveries.get()
    assert sent == [("tenants.deliver_webhook_task", {"delivery_id": str(delivery.pk)})]

    settings.WEBHOOK_IN_FLIGHT_PER_ENDPOINT = 1
    assert delivering.claim(endpoint.pk) == delivery
    with django_capture_on_commit_callbacks(execute=True):
        emit()
    assert len(sent) == 1


def test_an_endpoint_has_one_message_in_the_queue_however_much_happens_while_no_worker_is_free(
    endpoint, receiver, emit, sent, django_capture_on_commit_callbacks
):
    with django_capture_on_commit_callbacks(execute=True):
        for _ in range(5):
            emit()
    assert len(sent) == 1
    assert sweeping.ring_endpoints(limit=10) == 0

    tasks.deliver_webhook_task(**sent.pop()[1])
    assert len(receiver.requests) == 5
    with django_capture_on_commit_callbacks(execute=True):
        emit()  # after the worker came: it may be gone already
    assert len(sent) == 1


@pytest.mark.parametrize(
    "url", ["ftp://example.com/", "http://127.0.0.1/", "http://10.0.0.1/", "nonsense", "https://u:p@example.com/"]
)
def test_an_endpoint_needs_a_url_that_may_be_reached(tenant, url):
    with pytest.raises(OutboundError):
        services.create_endpoint(tenant=tenant, url=url)


def test_an_unknown_event_type_is_named(tenant, receiver):
    with pytest.raises(EventTypeUnknownError, match=r"query\.asked"):
        services.create_endpoint(tenant=tenant, url=receiver.url, event_types=["query.asked"])


# --- Signing -----------------------------------------------------------------------------------------
def test_a_delivery_is_verified_by_the_receiver_and_refused_when_altered_or_old(tenant, receiver, sent):
    endpoint, secret = services.create_endpoint(tenant=tenant, url=receiver.url)
    event = services.emit(tenant=tenant, type="query.answered", payload={"answer": "پاسخ «بله»"})

    assert deliver(endpoint).state == State.DONE
    (request,) = receiver.requests
    told = Webhook(secret).verify(request.body, request.headers)
    assert told["type"] == "query.answered"
    assert told["data"] == {"answer": "پاسخ «بله»"}
    assert request.headers["webhook-id"] == str(event.pk)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(request.body + " ", request.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(request.body, request.headers | {"webhook-id": "another"})
    with time_machine.travel(timezone.now() + timedelta(minutes=6)), pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(request.body, request.headers)


def test_both_secrets_verify_for_a_day_after_a_rotation_and_only_the_new_one_then(tenant, receiver, emit):
    endpoint, old = services.create_endpoint(tenant=tenant, url=receiver.url)
    new = services.rotate_secret(endpoint=endpoint)
    assert new != old

    emit()
    deliver(endpoint)
    request = receiver.requests[-1]
    for secret in (old, new):
        assert Webhook(secret).verify(request.body, request.headers)

    with time_machine.travel(timezone.now() + timedelta(hours=25)):
        emit()
        deliver(endpoint)
        request = receiver.requests[-1]
        assert Webhook(new).verify(request.body, request.headers)
        with pytest.raises(WebhookVerificationError):
            Webhook(old).verify(request.body, request.headers)


def test_a_secret_is_nowhere_in_the_database(tenant, receiver):
    endpoint, secret = services.create_endpoint(tenant=tenant, url=receiver.url)

    assert secret.removeprefix("whsec_") not in str(WebhookEndpoint.objects.filter(pk=endpoint.pk).values().get())


def test_receivers_keep_verifying_while_the_installations_key_is_changed(tenant, receiver, emit, settings):
    endpoint, secret = services.create_endpoint(tenant=tenant, url=receiver.url)
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "another", [settings.SECRET_KEY]

    emit()
    deliver(endpoint)

    assert Webhook(secret).verify(receiver.requests[0].body, receiver.requests[0].headers)


# --- Sweeping ----------------------------------------------------------------------------------------
def test_the_sweeper_rings_once_per_endpoint_for_lost_messages_and_not_again_at_once(tenant, receiver, sent):
    for _ in range(2):
        services.create_endpoint(tenant=tenant, url=receiver.url)
    for _ in range(3):
        outbox.record_event(tenant=tenant, type="query.answered", payload={})

    assert sweeping.ring_endpoints(limit=10) == 2
    assert len(sent) == 2
    assert sweeping.ring_endpoints(limit=10) == 0
    with time_machine.travel(timezone.now() + timedelta(seconds=11)):
        assert sweeping.ring_endpoints(limit=10) == 2


def test_the_sweeper_leaves_alone_who_is_off_rests_or_has_nothing_due(tenant, receiver, endpoint, emit, sent):
    emit()
    rows = WebhookEndpoint.objects.filter(pk=endpoint.pk)

    rows.update(is_enabled=False)
    assert sweeping.ring_endpoints(limit=10) == 0
    rows.update(is_enabled=True, paused_until=timezone.now() + timedelta(minutes=1))
    assert sweeping.ring_endpoints(limit=10) == 0
    rows.update(paused_until=None)
    WebhookDelivery.objects.update(next_attempt_at=timezone.now() + timedelta(minutes=1))
    assert sweeping.ring_endpoints(limit=10) == 0


# --- Replaying ---------------------------------------------------------------------------------------
def test_a_delivery_is_replayed_with_the_same_id(endpoint, receiver, emit):
    emit()
    delivery = deliver(endpoint)

    services.replay_delivery(delivery=delivery)
    deliver(endpoint)

    assert len(receiver.ids) == 2
    assert len(set(receiver.ids)) == 1


def test_an_event_is_replayed_to_all_who_ask_for_it_now(tenant, endpoint, make_receiver, emit):
    event = emit()
    deliver(endpoint)
    newcomer, _ = services.create_endpoint(tenant=tenant, url=make_receiver().url)

    assert services.replay_event(event=event) == 2
    assert deliver(newcomer).event == event


def test_a_range_brings_what_was_missed_while_the_endpoint_was_off_and_nothing_else(endpoint, receiver, emit):
    began = timezone.now()
    emit()
    deliver(endpoint)
    services.disable_endpoint(endpoint=endpoint)
    missed = [emit() for _ in range(3)]
    with pytest.raises(WebhookDisabledError):
        services.replay_range(endpoint=endpoint, since=began, until=timezone.now())
    services.enable_endpoint(endpoint=endpoint)

    assert services.replay_range(endpoint=endpoint, since=began, until=timezone.now()) == 3
    assert services.replay_range(endpoint=endpoint, since=began, until=timezone.now()) == 0
    deliver(endpoint)
    assert set(receiver.ids[1:]) == {str(event.pk) for event in missed}
    assert services.replay_range(endpoint=endpoint, since=began, until=timezone.now(), again=True) == 4


def test_a_test_event_reaches_an_endpoint_whatever_it_asks_for(tenant, receiver, sent):
    endpoint, _ = services.create_endpoint(tenant=tenant, url=receiver.url, event_types=["usage.hourly"])

    delivery = services.send_test_event(endpoint=endpoint)
    deliver(endpoint)

    delivery.refresh_from_db()
    assert delivery.state == State.DONE
    assert json.loads(receiver.requests[0].body)["type"] == "webhook.test"


def test_old_events_are_pruned_in_bounded_batches_unless_something_is_still_to_be_sent(endpoint, emit):
    emit()
    emit()
    delivering.deliver_due(endpoint.pk, seconds=5)
    waiting = emit()

    with time_machine.travel(timezone.now() + timedelta(days=31)):
        now = timezone.now()
        assert outbox.prune(now=now, older_than=timedelta(days=30), limit=1) == 1
        assert outbox.prune(now=now, older_than=timedelta(days=30), limit=10) == 1
        assert outbox.prune(now=now, older_than=timedelta(days=30), limit=10) == 0
    assert WebhookEvent.objects.get() == waiting
