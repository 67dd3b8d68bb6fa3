"""The messages that keep vectors in step with the text. No rules live here."""

import logging
import uuid

from celery import Task, shared_task
from django.db.models import Q
from django.db.models.functions import Coalesce, Now

from core import enqueue, turns
from core.jobs import has_forgotten, kept, ring_each
from core.postgres.standing import AnyRow
from core.states import OPEN_STATES, State
from knowledge import copying, deleting, full_sync, large_tenants, sync_queue
from knowledge.embeddings import EmbeddingError
from knowledge.models import EmbeddingDeletion, FullSync, Stage, SyncItem, VersionCopy

SEND_LIMIT = 500
_work = AnyRow(
    lambda: SyncItem.objects.filter(state=State.QUEUED, sent_at=None, not_before__lte=Now()),
    lambda: SyncItem.objects.filter(Q(state=State.QUEUED, sent_at__isnull=False) | Q(state=State.RUNNING)),
    FullSync.objects.open,
    lambda: VersionCopy.objects.filter(state__in=OPEN_STATES),
    lambda: EmbeddingDeletion.objects.filter(state=State.QUEUED),
)

logger = logging.getLogger(__name__)


@shared_task(name="knowledge.sync_embeddings_task")
def sync_embeddings_task(*, document_id: str) -> bool:
    """Make the vectors a document lacks, a slice at a time; False if another worker has it."""
    item = SyncItem.objects.claim(document_id)
    if item is None:
        return False
    try:
        with kept(item):
            is_done = sync_queue.work_on(item)
        if is_done:
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
        send_due()
    return True


@shared_task(name="knowledge.process_sync_queue", ignore_result=False)
def process_sync_queue() -> int:
    """Send what is due and repair what was lost; the sweeper does the same each second."""
    return sweep(limit=SEND_LIMIT)


def sweep(*, limit: int) -> int:
    """Free what was lost and send what has room; return the number of rows touched."""
    if has_forgotten("knowledge"):
        for jobs in (SyncItem.objects, FullSync.objects, VersionCopy.objects):
            jobs.filter(state=State.QUEUED, sent_at__isnull=False).update(sent_at=None)
    if not _work.exists():
        return 0
    repaired = sum(work.repair(limit=limit) for work in (sync_queue, full_sync, copying))
    sent = send_due(limit=limit) + send_full_syncs() + send_copies(limit=limit) + send_lost_deletions(limit=limit)
    return repaired + sent


@shared_task(name="knowledge.trigger_full_sync_task")
def trigger_full_sync_task(batch_size: int = full_sync.BATCH_SIZE, *, full_sync_id: str | None = None) -> int | bool:
    """Work on a full sync for a slice; without an id, open one for every tenant and return how many there are.

    False while vectors are missing: the ledger then keeps the task, which is sent again under the same id, as open.
    """
    if full_sync_id is None:
        count = full_sync.open_for_all(batch_size=batch_size)
        send_full_syncs()
        return count
    run = FullSync.objects.claim(full_sync_id)
    if run is None:
        return False
    try:
        with kept(run):
            return full_sync.work_on(run)
    except EmbeddingError as exc:
        logger.warning("full sync %s: %s", full_sync_id, exc)
        if full_sync.fail(run, str(exc)):
            raise
        return False
    except BaseException as exc:
        full_sync.fail(run, f"{type(exc).__name__}: {exc}")
        raise
    finally:
        send_full_syncs()
        send_due()


@shared_task(name="knowledge.copy_version_task")
def copy_version_task(*, copy_id: str) -> bool:
    """Copy documents of the live version to another for a slice; False while there are more, or if it is not free."""
    copy = VersionCopy.objects.claim(copy_id)
    if copy is None:
        return False
    try:
        with kept(copy):
            return copying.work_on(copy)
    except BaseException as exc:  # a bug, or the soft time limit: the row must not wait for its lease
        sync_queue.fail(copy, f"{type(exc).__name__}: {exc}")
        raise
    finally:
        send_copies()
        send_due()


@shared_task(name="knowledge.delete_document_embeddings_task", bind=True)
def delete_document_embeddings_task(self: Task, document_id: str) -> int | None:
    """Delete the document's passages and vectors; None if there is no such document. The task's id is its row's."""
    return deleting.delete_embeddings(document_id, deletion_id=self.request.id)


@shared_task(name="knowledge.index_vectors_task", soft_time_limit=3500, time_limit=3600, ignore_result=False)
def index_vectors_task() -> dict[str, list[str]]:
    """Give each large tenant indexes of its own, and drop those that no longer serve; return the names of both."""
    dropped, built = large_tenants.maintain_indexes()
    return {"dropped": dropped, "built": built}


def send_full_syncs() -> int:
    """Send the full syncs that the window has room for, while vectors are made as one task under the run's own id.

    Moving has ids of its own: revoking one of those tasks holds nothing up for good.
    """

    def ring(row: tuple[uuid.UUID, uuid.UUID, str]) -> bool:
        run_id, tenant_id, stage = row
        task_id = run_id if stage == Stage.EMBEDDING else None
        kwargs = {"full_sync_id": str(run_id)}
        level = turns.level_of(tenant_id)
        return enqueue.publish(trigger_full_sync_task, kwargs, tenant_id=tenant_id, task_id=task_id, level=level)

    waiting = full_sync.take_due()
    sent = ring_each(waiting, ring)
    full_sync.give_back([run_id for run_id, _tenant_id, _stage in waiting[sent:]])
    return sent


def send_copies(*, limit: int = SEND_LIMIT) -> int:
    """Send the copies of versions that wait; an unreachable broker leaves them due."""

    def ring(copy: VersionCopy) -> bool:
        owner = copy.tenant.customer_id
        kwargs = {"copy_id": str(copy.pk)}
        return enqueue.publish(copy_version_task, kwargs, tenant_id=owner, level=turns.level_of(owner))

    waiting = copying.take_due(limit=limit)
    sent = ring_each(waiting, ring)
    copying.give_back(waiting[sent:])
    return sent


def send_lost_deletions(*, limit: int = SEND_LIMIT) -> int:
    """Send the deletions again whose message was lost; an unreachable broker means later."""

    def ring(lost: EmbeddingDeletion) -> bool:
        kwargs = {"document_id": str(lost.document_id)}
        return enqueue.publish(
            delete_document_embeddings_task, kwargs, tenant_id=lost.tenant.customer_id, task_id=lost.pk
        )

    return ring_each(deleting.take_lost(limit=limit), ring)


def send_due(*, tenant_id: uuid.UUID | None = None, limit: int = SEND_LIMIT) -> int:
    """Send the messages that the tenants' windows have room for; an unreachable broker leaves them due."""
    waiting = sync_queue.take_due(tenant_id=tenant_id, limit=limit)
    customer = Coalesce("tenant__version_of", "tenant")
    owners = dict(SyncItem.objects.filter(document_id__in=waiting).values_list("document_id", customer))

    def ring(document_id: uuid.UUID) -> bool:
        kwargs, owner = {"document_id": str(document_id)}, owners.get(document_id)
        return enqueue.publish(sync_embeddings_task, kwargs, tenant_id=owner, level=turns.level_of(owner))

    sent = ring_each(waiting, ring)
    sync_queue.give_back(waiting[sent:])
    return sent
