"""The doorbell of chat messages, and chat's own cleaning. No rules live here: the row decides."""

import logging
import uuid

from celery import shared_task

from chat import cleaning, working
from chat.models import Message
from core import batches
from core.enqueue import BROKER_ERRORS, headers_for

__all__ = [
    "BROKER_ERRORS",
    "answer_message_task",
    "cleanup_old_conversations",
    "cleanup_query_cache",
    "ring",
    "ring_next",
]

log = logging.getLogger(__name__)

# One quick second try: a request waits meanwhile, and the sweeper rings again within seconds. Without a policy of
# its own a publish without a broker takes 6 s (kombu waits 2 s, then 4 s, to connect).
RETRY_POLICY = {"max_retries": 1, "interval_start": 0, "interval_step": 0.1, "interval_max": 0.1}


@shared_task(name="chat.answer_message_task", ignore_result=True)
def answer_message_task(*, message_id: str) -> bool:
    """Answer the message if it is free; a second delivery of the same doorbell returns False at once."""
    message = Message.objects.claim(message_id)
    if message is None:
        return False
    try:
        working.work(message)
    finally:
        ring_next(message.tenant_id)
    return True


@shared_task(name="chat.cleanup_query_cache", ignore_result=False)
def cleanup_query_cache() -> dict[str, int]:
    """Delete cached answers that nobody can, or does, ask for any more."""
    return batches.run(cleaning.QUERY_CACHE)


@shared_task(name="chat.cleanup_old_conversations", ignore_result=False)
def cleanup_old_conversations() -> dict[str, int]:
    """Archive and erase conversations as their tenants' retention says."""
    return batches.run(cleaning.CONVERSATIONS)


def ring(message_id: uuid.UUID, task_id: uuid.UUID, tenant_id: uuid.UUID) -> bool:
    """Tell the workers of a message; False if the broker is away, which the sweeper repairs."""
    try:
        answer_message_task.apply_async(
            kwargs={"message_id": str(message_id)},
            task_id=str(task_id),
            headers=headers_for(tenant_id),
            retry_policy=RETRY_POLICY,
        )
    except BROKER_ERRORS as exc:
        log.warning("message %s could not be sent to the workers: %s", message_id, type(exc).__name__)
        return False
    return True


def ring_next(tenant_id: uuid.UUID) -> None:
    """Give the room that became free to the tenant's oldest message that was refused for lack of it."""
    held = (
        Message.objects.held()
        .filter(tenant=tenant_id)
        .order_by("created_at")
        .only("pk", "task_id", "tenant_id")
        .first()
    )
    if held is not None and Message.objects.mark_sent([held.pk]):
        ring(held.pk, held.task_id, tenant_id)
