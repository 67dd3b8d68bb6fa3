"""Deliveries that fail, hang or lose their worker: tried again, given up, in nobody's way."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.db import connection
from django.utils import timezone

from core.states import State
from tenants import delivering, outbox, services, sweeping, tasks
from tenants.models import Notification, WebhookAttempt, WebhookDelivery, WebhookEndpoint
from tests.tenants.outgoing import deliver
from tests.tenants.receiving import Reply
from tests.workers import wait_until

pytestmark = pytest.mark.django_db


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
