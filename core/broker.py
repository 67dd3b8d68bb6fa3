"""kombu's Redis transport, mended: a worker outlives a broker that goes away while its tasks run.

Which of a queue's lists has which level is for `core.queues` to say.

As it comes, kombu puts unacknowledged messages back when a connection closes, and what fails there, as it must without
a broker, ends the worker and every answer in it. Each message only rings for a row, which is rung for again; those of
background work besides stay noted in Redis and come back after the visibility timeout.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import structlog
from celery import bootsteps
from kombu.transport import TRANSPORT_ALIASES, redis, virtual

from core import queues

log = structlog.get_logger(__name__)


class InMemory(virtual.QoS):
    """Knows which messages of a channel are not acknowledged yet, for as long as its process lives."""

    def restore_unacked_once(self, stderr: Any = None) -> None:
        """Put them back, or leave them to the broker if it cannot be reached."""
        try:
            super().restore_unacked_once(stderr)
        except Exception as exc:  # kombu's own attribute errors among them
            delivered: dict[str, Any] = self._delivered or {}
            log.warning("unacknowledged messages are not put back", count=len(delivered), error=repr(exc))
            delivered.clear()


class NotedInRedis(InMemory, redis.QoS):
    """Notes them in Redis as well, from where they come back in any case."""

    @contextmanager
    def pipe_or_acquire(self, pipe: Any = None, client: Any = None) -> Iterator[Any]:
        """Give a pipeline without MULTI and EXEC: a row rings again for a message that is noted by half."""
        if pipe:
            yield pipe
        else:
            channel: Any = self.channel
            with channel.conn_or_acquire(client) as connected:
                yield connected.pipeline(transaction=False)

    def ack(self, delivery_tag: str) -> None:
        """Acknowledge a message; one of a lost connection is only forgotten, since it went back or stays."""
        if self.channel.closed:
            virtual.QoS.ack(self, delivery_tag)
        else:
            super().ack(delivery_tag)


class Channel(redis.Channel):
    QoS: Any = NotedInRedis
    _shared_client: Any = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not self.ack_emulation:
            self.QoS = InMemory

    def _create_client(self, asynchronous: bool = False) -> Any:
        """Return one client for all commands of a pool; a new one for each took as long as the command."""
        if asynchronous:
            return super()._create_client(asynchronous)  # type: ignore[misc]  # kombu defines it; its stubs do not
        if self._shared_client is None or self._shared_client.connection_pool is not self.pool:
            self._shared_client = super()._create_client()  # type: ignore[misc]
        return self._shared_client

    def _q_for_pri(self, queue: str, pri: int) -> str:
        return queues.list_of(queue, self.priority(pri))


class Transport(redis.Transport):
    Channel = Channel


class RowsRemember(bootsteps.Step):
    """Lets a worker of chat alone note nowhere but in its memory what it has taken and not acknowledged.

    Each of these messages rings for a row, which is rung for again if its worker dies: noting it in Redis too would be
    two round trips of each question. What a worker that stops has not begun goes back into the queue all the same.
    """

    def include_if(self, worker: Any) -> bool:
        if set(worker.app.amqp.queues.consume_from) == {queues.HIGH_PRIORITY}:
            options = worker.app.conf.broker_transport_options
            worker.app.conf.broker_transport_options = options | {"ack_emulation": False}
        return False


def install() -> None:
    """Let every ``redis://`` and ``rediss://`` address mean this transport."""
    name = f"{__name__}:{Transport.__name__}"
    TRANSPORT_ALIASES.update(redis=name, rediss=name)
