"""The messages that keep vectors in step with the text. No rules live here."""

import logging
import uuid

from celery import shared_task
from kombu.exceptions import OperationalError

from knowledge import sync_queue
from knowledge.embeddings import EmbeddingError
from knowledge.models import SyncItem

SEND_LIMIT = 500

logger = logging.getLogger(__name__)


@shared_task(name="knowledge.sync_embeddings_task")
def sync_embeddings_task(*, document_id: str) -> None:
    """Make the vectors a document lacks, a slice at a time."""
    item = SyncItem.objects.claim(document_id)
    if item is None:
        return
    try:
        if sync_queue.work_on(item):
            sync_queue.finish(item)
        else:
            sync_queue.pause(item)
    except EmbeddingError as exc:
        logger.warning("no vectors for document %s: %s", document_id, exc)
        sync_queue.fail(item, str(exc))
    except BaseException as exc:  # a bug, or the soft time limit: the row must not wait for its lease
        sync_queue.fail(item, f"{type(exc).__name__}: {exc}")
        raise
    finally:
        send_due(tenant_id=item.tenant_id)


@shared_task(name="knowledge.process_sync_queue", ignore_result=False)
def process_sync_queue() -> int:
    """Send what is due and repair what was lost; the sweeper does the same each second."""
    sync_queue.repair(limit=SEND_LIMIT)
    return send_due()


def send_due(*, tenant_id: uuid.UUID | None = None, limit: int = SEND_LIMIT) -> int:
    """Send the messages that the tenants' windows have room for; an unreachable broker leaves them due."""
    waiting = sync_queue.take_due(tenant_id=tenant_id, limit=limit)
    sent = 0
    try:
        for document_id in waiting:
            sync_embeddings_task.delay(document_id=str(document_id))
            sent += 1
    except OperationalError as exc:
        logger.warning("the broker does not answer, %d documents wait: %s", len(waiting) - sent, exc)
        sync_queue.give_back(waiting[sent:])
    return sent
