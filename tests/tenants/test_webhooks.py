"""The outbox: what is written, sent, signed, tried again, switched off and replayed."""

import json
import threading
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.db import connection
from django.utils import timezone
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from core.outbound import OutboundError
from core.states import State
from tenants import delivering, outbox, services, sweeping, tasks
from tenants.errors import EventTypeUnknownError, WebhookDisabledError
from tenants.models import Notification, WebhookAttempt, WebhookDelivery, WebhookEndpoint, WebhookEvent
from tests.tenants.receiving import Reply, wait_until

pytestmark = pytest.mark.django_db

RETRY_DAYS = timedelta(days=4)


@pytest.fixture
def endpoint(tenant, receiver):
    return services.create_endpoint(tenant=tenant, url=receiver.url)[0]


@pytest.fixture
def emit(tenant, sent):
    return lambda **values: services.emit(tenant=tenant, type="query.answered", payload={"answer": "پاسخ"}, **values)


def deliver(endpoint):
    """Do what one message to a worker does."""
    delivering.deliver_due(endpoint.pk, seconds=5)
    endpoint.refresh_from_db()
    return WebhookDelivery.objects.filter(endpoint=endpoint).order_by("created_at").first()


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


# --- Trying again ------------------------------------------------------------------------------------
def test_a_failing_delivery_is_tried_at_least_8_times_over_at_least_72_hours_with_one_id(endpoint, receiver, emit):
    receiver.answer = lambda request: Reply(500)
    began = datetime(2026, 1, 1, tzinfo=UTC)
    with time_machine.travel(began, tick=False) as clock:
        emit()
        while (delivery := deliver(endpoint)).state == State.QUEUED:
            clock.move_to(delivery.next_attempt_at + timedelta(seconds=1))

    assert delivery.state == State.FAILED
    assert len(receiver.requests) == delivery.attempts == WebhookAttempt.objects.count() >= 8
    assert len(set(receiver.ids)) == 1
    assert len({request.body for request in receiver.requests}) == 1
    assert timedelta(hours=72) <= delivery.finished_at - began <= timedelta(hours=90)
    assert endpoint.is_enabled  # three days of failing are not five


def test_the_pauses_differ_by_chance(endpoint, receiver, emit):
    receiver.answer = lambda request: Reply(500)
    for _ in range(5):
        emit()
    deliver(endpoint)

    pauses = {d.next_attempt_at - d.attempt_log.get().started_at for d in WebhookDelivery.objects.all()}
    assert len({round(pause.total_seconds(), 2) for pause in pauses}) > 1
    assert all(timedelta(seconds=5) <= pause < timedelta(seconds=8) for pause in pauses)


def test_retry_after_is_obeyed_as_seconds_and_as_a_date_up_to_a_day(endpoint, receiver, emit):
    receiver.answer = lambda request: Reply(503, {"Retry-After": "3600"})
    emit()
    delivery = deliver(endpoint)
    assert delivery.next_attempt_at - timezone.now() > timedelta(minutes=59)
    assert endpoint.paused_until > timezone.now()  # the endpoint as a whole was asked to be left alone

    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert delivering.retry_after_seconds({"retry-after": "Thu, 01 Jan 2026 01:00:00 GMT"}, now) == 3600
    assert delivering.retry_after_seconds({"retry-after": "99999999"}, now) == 86_400
    for nonsense in ("", "soon", "-5", "۵", "Thu, 99 Jan"):
        assert delivering.retry_after_seconds({"retry-after": nonsense}, now) is None


def test_a_redirect_is_a_failure_and_is_not_followed(endpoint, receiver, emit):
    receiver.answer = lambda request: Reply(302, {"Location": receiver.url + "/elsewhere"})
    emit()

    delivery = deliver(endpoint)

    assert (delivery.state, delivery.last_status, len(receiver.requests)) == (State.QUEUED, 302, 1)


def test_410_switches_the_endpoint_off_at_once_and_tells_the_owners(endpoint, receiver, emit):
    receiver.answer = lambda request: Reply(410)
    emit()

    delivery = deliver(endpoint)

    assert delivery.state == State.FAILED
    assert (endpoint.is_enabled, endpoint.disabled_reason) == (False, "gone")
    told = Notification.objects.get()
    assert (told.tenant, told.audience) == (endpoint.tenant, "owners")
    assert endpoint.url in told.body
    assert endpoint.url in told.body_fa


def test_an_endpoint_that_fails_for_5_days_is_switched_off_and_one_that_works_now_and_then_is_not(
    endpoint, receiver, emit
):
    with time_machine.travel(datetime(2026, 1, 1, tzinfo=UTC), tick=False) as clock:
        for day in range(6):
            receiver.answer = lambda request, day=day: Reply(200 if day == 3 else 500)
            emit()
            deliver(endpoint)
            clock.shift(timedelta(days=1))
        assert endpoint.is_enabled  # it worked on the fourth day
        for _ in range(4):
            emit()
            deliver(endpoint)
            clock.shift(timedelta(days=1))

    assert (endpoint.is_enabled, endpoint.disabled_reason) == (False, "failing")
    assert Notification.objects.count() == 1


def test_a_worker_that_died_is_followed_by_another_after_the_lease(endpoint, receiver, emit, settings):
    emit()
    lost = delivering.claim(endpoint.pk)
    assert delivering.claim(endpoint.pk) is None

    with time_machine.travel(timezone.now() + timedelta(seconds=settings.JOB_LEASE_SECONDS + 1)):
        assert deliver(endpoint).state == State.DONE
        # The first worker was only slow: what it says now no longer counts.
        delivering.record(lost, delivering.Reply(timezone.now(), 1, status=500, error="HTTP 500"))

    lost.refresh_from_db()
    assert (lost.state, lost.last_status) == (State.DONE, 200)


def test_a_delivery_whose_workers_all_died_is_closed(endpoint, emit, settings):
    emit()
    settings.WEBHOOK_RETRY_DELAYS_SECONDS = [1.0]
    with time_machine.travel(timezone.now()) as clock:
        for _ in range(2):
            assert delivering.claim(endpoint.pk)
            clock.shift(timedelta(seconds=settings.JOB_LEASE_SECONDS + 1))
        assert delivering.claim(endpoint.pk) is None
        assert delivering.close_worn_out(limit=10) == 1

    assert WebhookDelivery.objects.get().state == State.FAILED


def test_the_log_keeps_a_bounded_excerpt_and_no_word_of_the_network_behind_us(endpoint, receiver, emit, settings):
    receiver.answer = lambda request: Reply(500, body=b"\x00\xff" + b"x" * 100_000)
    emit()
    deliver(endpoint)
    attempt = WebhookAttempt.objects.get()
    assert 0 < len(attempt.response_excerpt) <= 500

    settings.OUTBOUND_ALLOWED_HOSTS = []  # as if the name had moved to an address inside
    WebhookEndpoint.objects.update(url="http://localhost.example.invalid/", paused_until=None)
    WebhookDelivery.objects.update(next_attempt_at=timezone.now())
    deliver(endpoint)
    attempt = WebhookAttempt.objects.latest("id")
    assert (attempt.status, attempt.duration_ms) == (None, 0)
    assert "127.0.0.1" not in attempt.error


# --- One endpoint never delays another ------------------------------------------------------------------
def test_an_endpoint_that_does_not_answer_rests_longer_each_time(endpoint, receiver, emit, settings):
    settings.WEBHOOK_TIMEOUT_SECONDS = 0.2
    receiver.answer = lambda request: Reply() if receiver.released.wait(5) else Reply(500)
    for _ in range(3):
        emit()

    deliver(endpoint)
    assert len(receiver.requests) == 1  # silence ends the slice
    first_rest = endpoint.paused_until - timezone.now()
    assert delivering.next_due(endpoint.pk) is None
    with time_machine.travel(endpoint.paused_until + timedelta(seconds=1)):
        deliver(endpoint)
        assert endpoint.paused_until - timezone.now() > first_rest * 1.5
    assert endpoint.silent_count == 2


def test_at_most_two_requests_are_in_flight_to_an_endpoint(endpoint, emit):
    for _ in range(5):
        emit()

    assert delivering.claim(endpoint.pk)
    assert delivering.claim(endpoint.pk)
    assert delivering.claim(endpoint.pk) is None


@pytest.mark.django_db(transaction=True)
def test_a_hanging_endpoint_with_a_full_backlog_holds_up_nobody_else(tenant, make_receiver, sent, settings):
    settings.WEBHOOK_TIMEOUT_SECONDS = 5
    hanging, healthy = make_receiver(), make_receiver()
    hanging.answer = lambda request: Reply(200 if hanging.released.wait(10) else 500)
    stuck, _ = services.create_endpoint(tenant=tenant, url=hanging.url, event_types=["usage.hourly"])
    services.create_endpoint(tenant=tenant, url=healthy.url, event_types=["query.answered"])
    for number in range(200):
        outbox.record_event(tenant=tenant, type="usage.hourly", payload={"number": number})
    worker = Workers(sent, count=3)  # as many as may ever hang in one endpoint, and one more
    worker.start()
    try:
        sweeping.sweep()
        wait_until(hanging.arrived.is_set)
        for number in range(20):
            services.emit(tenant=tenant, type="query.answered", payload={"number": number})
        wait_until(lambda: len(healthy.requests) == 20)
        assert len(hanging.requests) <= 2
        assert stuck.deliveries.filter(state=State.DONE).count() == 0
    finally:
        services.disable_endpoint(endpoint=stuck)
        hanging.released.set()
        worker.stop()


class Workers:
    """Threads that take the messages of the ``sent`` fixture as workers of the queue would."""

    def __init__(self, sent, count):
        self.sent, self.stopped = sent, threading.Event()
        self.threads = [threading.Thread(target=self.run) for _ in range(count)]

    def start(self):
        for thread in self.threads:
            thread.start()

    def stop(self):
        self.stopped.set()
        for thread in self.threads:
            thread.join(20)

    def run(self):
        while not self.stopped.wait(0.005):
            try:
                name, arguments = self.sent.pop(0)
            except IndexError:
                continue
            assert name == "tenants.deliver_webhook_task"
            tasks.deliver_webhook_task(**arguments)
        connection.close()


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
