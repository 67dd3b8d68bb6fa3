"""The doorbell of chat messages, and chat's own cleaning. No rules live here: the row decides."""

import uuid
from collections.abc import Coroutine
from functools import partial
from typing import Any

from celery import shared_task

from chat import cleaning, working
from chat.models import Message
from core import batches, enqueue, queues
from core.continuing import GoesOn, later
from core.database import outlast

__all__ = [
    "answer_message_task",
    "cleanup_old_conversations",
    "cleanup_query_cache",
    "ring",
    "ring_next",
]


@shared_task(name="chat.answer_message_task", ignore_result=True)
def answer_message_task(*, message_id: str) -> bool | GoesOn:
    """Answer the message if it is free; a second delivery of the same doorbell returns False at once."""
    message = outlast(partial(Message.objects.claim, message_id))
    if message is None:
        return False
    rest = working.work(message, afterwards=partial(ring_next, message.tenant_id))
    return True if rest is None else later(_to_the_end(rest))


async def _to_the_end(rest: Coroutine[Any, Any, None]) -> bool:
    await rest
    return True


@shared_task(name="chat.cleanup_query_cache", ignore_result=False)
def cleanup_query_cache() -> dict[str, int]:
    """Delete cached answers that nobody can, or does, ask for any more."""
    return batches.run(cleaning.QUERY_CACHE)


@shared_task(name="chat.cleanup_old_conversations", ignore_result=False)
def cleanup_old_conversations() -> dict[str, int]:
    """Archive and erase conversations as their tenants' retention says."""
    return batches.run(cleaning.CONVERSATIONS)


def ring(
    message_id: uuid.UUID,
    task_id: uuid.UUID,
    tenant_id: uuid.UUID,
    *,
    level: int = queues.LEVELS[1],
    queue: str | None = None,
) -> bool:
    """Tell the workers of a message; False if the broker is away, which the sweeper repairs.

    What is rung for later, because its tenant had no room, stands behind everybody's first questions.
    """
    kwargs = {"message_id": str(message_id)}
    return enqueue.publish(answer_message_task, kwargs, tenant_id=tenant_id, task_id=task_id, level=level, queue=queue)


def ring_alone(message_id: uuid.UUID, task_id: uuid.UUID, tenant_id: uuid.UUID) -> bool:
    """Have the message answered in a process that does nothing else: it, or one beside it, has killed its workers.

    A chat worker that dies takes hundreds of answers along; of the background worker only one child dies.
    """
    return ring(message_id, task_id, tenant_id, level=queues.LEVELS[0], queue=queues.DEFAULT)


def ring_next(tenant_id: uuid.UUID) -> None:
    """Give the room that became free to the tenant's oldest message that was refused for lack of it."""
    held = Message.objects.oldest_held(tenant_id)
    if held is not None and Message.objects.mark_sent([held[0]]):
        ring(*held, tenant_id)
