"""What Celery really uses, read from the application: a setting with a wrong name has no effect and no error."""

import pytest
from celery.exceptions import QueueNotFound
from kombu.exceptions import OperationalError

from core.celery import app

EFFECTIVE = {
    "task_acks_late": True,
    "task_reject_on_worker_lost": True,
    "task_create_missing_queues": False,
    "task_default_queue": "default",
    "task_ignore_result": True,
    "task_serializer": "json",
    "accept_content": ["json"],
    "worker_prefetch_multiplier": 1,
    "worker_disable_prefetch": True,
    "worker_cancel_long_running_tasks_on_connection_loss": False,
    "worker_hijack_root_logger": False,
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,
    "result_backend": "django-db",
    "result_extended": False,
    "result_expires": None,
    "beat_schedule": {},
    "beat_sync_every": 1,
    "timezone": "UTC",
}
TRANSPORT = {
    "socket_timeout": 10,
    "socket_connect_timeout": 3,
    "socket_keepalive": True,
    "health_check_interval": 10,
    "retry_on_timeout": True,
    "queue_order_strategy": "priority",
    "unacked_restore_interval": 10,
    "unacked_restore_throttle": 1,
    "unacked_mutex_expire": 5,
}


@pytest.mark.parametrize(("name", "value"), EFFECTIVE.items(), ids=EFFECTIVE)
def test_celery_uses_the_value_that_was_measured(name, value):
    assert app.conf[name] == value


@pytest.mark.parametrize(("name", "value"), TRANSPORT.items(), ids=TRANSPORT)
def test_the_broker_connection_uses_the_value_that_was_measured(name, value):
    assert app.conf.broker_transport_options[name] == value


def test_the_transport_knows_each_option_it_is_given():
    """Kombu ignores an option with a wrong name in silence; its channel takes those it lists."""
    with app.connection_for_write() as connection:
        channel = connection.default_channel
        known = {*channel.from_transport_options, "queue_order_strategy"}
        options = set(app.conf.broker_transport_options)

        assert options <= known
        assert (channel.visibility_timeout, channel.socket_timeout) == (7200, 10)


def test_a_message_for_a_queue_that_nobody_declared_is_refused():
    with pytest.raises(QueueNotFound):
        app.send_task("chat.answer_message_task", queue="hihg_priority")


def test_a_broker_that_is_away_is_told_within_a_second_or_so():
    """The sweeper sends later, so a request must not hang on it."""
    with app.connection_for_write("redis://127.0.0.1:1/0") as connection, pytest.raises(OperationalError):
        app.send_task("chat.answer_message_task", connection=connection, retry=True)
