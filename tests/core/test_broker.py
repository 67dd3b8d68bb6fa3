"""What workers hold and have not acknowledged, over a real broker."""

from types import SimpleNamespace

import pytest
from celery import Celery
from kombu import Connection, Consumer, Producer

from core import broker, queues

broker.install()


@pytest.fixture
def taken(settings, redis_client):
    """Return what takes one message out of the queue and stops before it is acknowledged."""

    def take(queue, *, in_memory):
        options = {"queue_order_strategy": "priority"} | ({"ack_emulation": False} if in_memory else {})
        got = []
        with Connection(settings.REDIS_URL, transport_options=options) as connection, connection.channel() as channel:
            Producer(channel).publish({"number": 1}, routing_key=queue.name, declare=[queue], serializer="json")
            with Consumer(channel, queue(channel), callbacks=[lambda body, message: got.append(body)], accept=["json"]):
                connection.drain_events(timeout=5)
            assert got == [{"number": 1}]
            assert queues.length(redis_client, queue.name) == 0
            return redis_client.hlen("unacked")

    return take


@pytest.mark.parametrize(("in_memory", "noted"), [(True, 0), (False, 1)])
def test_what_a_worker_has_not_acknowledged_goes_back_when_it_stops(taken, redis_client, in_memory, noted):
    queue = queues.QUEUES[0]

    assert taken(queue, in_memory=in_memory) == noted

    assert queues.length(redis_client, queue.name) == 1
    assert redis_client.hlen("unacked") == 0


@pytest.mark.parametrize(
    ("consumed", "is_noted"), [(["high_priority"], False), (["default", "low_priority"], True), ([], True)]
)
def test_only_a_worker_of_chat_alone_keeps_it_in_memory(consumed, is_noted):
    app = Celery("test", set_as_current=False)
    app.conf.broker_transport_options = {"visibility_timeout": 7200}
    app.conf.task_queues = queues.QUEUES
    app.amqp.queues.select(consumed or list(queues.NAMES))

    assert broker.RowsRemember(SimpleNamespace(app=app)).include_if(SimpleNamespace(app=app)) is False

    assert app.conf.broker_transport_options["visibility_timeout"] == 7200
    assert app.conf.broker_transport_options.get("ack_emulation", True) is is_noted
