"""The messages that keep vectors in step with the text. No rules live here."""

import logging
import uuid

from celery import shared_task

from core import enqueue
from knowledge import sync_queue
from knowledge.embeddings import EmbeddingError
from knowledge.models import SyncItem

SEND_LIMIT = 500

logger = logging.getLogger(__name__)


@shared_task(name="knowledge.sync_embeddings_task")
def sync_embeddings_task(*, document_id: str) -> bool:
    """Make the vectors a document lacks, a slice at a time; False if another worker has it."""
    item = SyncItem.objects.claim(document_id)
    if item is None:
        return False
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
    return True


@shared_task(name="knowledge.process_sync_queue", ignore_result=False)
def process_sync_queue() -> int:
    """Send what is due and repair what was lost; the sweeper does the same each second."""
    sync_queue.repair(limit=SEND_LIMIT)
    return send_due()


def send_due(*, tenant_id: uuid.UUID | None = None, limit: int = SEND_LIMIT) -> int:
    """Send the messages that the tenants' windows have room for; an unreachable broker leaves them due."""
    waiting = sync_queue.take_due(tenant_id=tenant_id, limit=limit)
    owners = dict(SyncItem.objects.filter(document_id__in=waiting).values_list("document_id", "tenant_id"))
    for sent, document_id in enumerate(waiting):
        kwargs = {"document_id": str(document_id)}
        if not enqueue.publish(sync_embeddings_task, kwargs, tenant_id=owners.get(document_id)):
            sync_queue.give_back(waiting[sent:])
            return sent
    return len(waiting)
