"""What may be done with a tenant's knowledge: store a page, remove pages, make vectors anew or delete them."""

import re
import uuid
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from functools import partial

from django.db import transaction
from django.db.models.functions import Now

from core import enqueue
from core.states import State
from knowledge import chunking, full_sync, indexing, refetching, sync_queue, version
from knowledge.errors import PageInvalidError
from knowledge.models import Chunk, Document, EmbeddingDeletion, FullSync, SyncItem
from knowledge.tasks import delete_document_embeddings_task, send_due, send_full_syncs, trigger_full_sync_task
from tenants.models import Tenant

URL_MAX_BYTES = 2000  # the unique index on (tenant, url) takes 2,704 bytes a row at most
REMOVE_BATCH = 500
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")  # PostgreSQL refuses both


def store_page(
    *, tenant: Tenant, url: str, title: str, language: str, content: str, fetched_at: datetime, rings: bool = True
) -> Document:
    """Make the page's text searchable by words at once, and by meaning soon; return its document.

    Unchanged text only moves ``fetched_at``. Passages that stayed the same keep their rows and vectors. Two workers
    storing one URL take turns, and the text fetched last wins. A document whose passages were deleted on demand keeps
    its text up to date and stays without passages (`resync_document`). Who stores many pages rings once for all, with
    `ring_for_vectors`.

    Raises:
        PageInvalidError: if the URL is empty or longer than 2,000 bytes.
    """
    if not url or len(url.encode(errors="replace")) > URL_MAX_BYTES:
        raise PageInvalidError(f"A page needs a URL of at most {URL_MAX_BYTES} bytes.")
    title = _UNSTORABLE.sub("", title).strip()[:500]
    content = _UNSTORABLE.sub("", content)
    content_hash = indexing.digest(indexing.INDEX_VERSION, title, content)
    with transaction.atomic():
        text = {"title": title, "language": language, "content": content, "content_hash": content_hash}
        document, is_new = Document.objects.select_for_update(no_key=True).get_or_create(
            tenant_id=_live_holder(tenant), url=url, defaults={**text, "fetched_at": fetched_at}
        )
        if not is_new and not _update(document, text, fetched_at):
            return document
        _replace_chunks(document, is_new=is_new)
        _queue(document, rings=rings)
        version.add_change(document.tenant_id)
    return document


def _live_holder(tenant: Tenant) -> uuid.UUID:
    """Return who holds the live version now: who has read a page for long may not know of a switch."""
    holder_id: uuid.UUID | None = Tenant.objects.values_list("holder", flat=True).get(pk=tenant.pk)
    return tenant.pk if tenant.holder_id == tenant.pk else holder_id or tenant.pk


def _update(document: Document, text: dict[str, str], fetched_at: datetime) -> bool:
    """Bring a known document up to date; return whether its passages have to follow."""
    if fetched_at < document.fetched_at:
        return False
    document.fetched_at = fetched_at
    if document.content_hash == text["content_hash"]:
        document.save(update_fields=["fetched_at"])
        return False
    for name, value in text.items():
        setattr(document, name, value)
    document.save(update_fields=[*text, "fetched_at", "updated_at"])
    return document.excluded_at is None


def ring_for_vectors(*, tenant: Tenant) -> None:
    """Have the vectors of what was stored made, after the commit, as far as the tenant's window allows."""
    transaction.on_commit(partial(send_due, tenant_id=tenant.knowledge_id))


def confirm_page(*, document_id: uuid.UUID, fetched_at: datetime) -> None:
    """Note that the page was found unchanged then: citations give that as their date."""
    Document.objects.filter(pk=document_id, fetched_at__lt=fetched_at).update(fetched_at=fetched_at)


def wish_refetch(*, tenant: Tenant, urls: Iterable[str], reason: str) -> int:
    """Have these pages of the tenant read again soon, if they have changed; return how many were not waiting for it.

    A page read or wished for within ``REFETCH_PERIOD_HOURS`` is passed over.
    """
    return refetching.wish(tenant=tenant, urls=urls, reason=reason)


def read_dates(*, tenant: Tenant, urls: Iterable[str]) -> dict[str, datetime]:
    """Return when each of the tenant's pages was last read; those that are gone are missing."""
    return refetching.read_dates(tenant=tenant, urls=urls)


@transaction.atomic
def remove_page(*, tenant: Tenant, url: str) -> bool:
    """Forget the page with its passages and vectors; return False if there was none."""
    _count, deleted = Document.objects.for_tenant(tenant).filter(url=url).delete()
    if Document._meta.label not in deleted:
        return False
    version.add_change(tenant.knowledge_id)
    return True


@transaction.atomic
def remove_documents(*, tenant: Tenant, document_ids: Iterable[uuid.UUID]) -> int:
    """Forget these documents of the tenant with their passages and vectors; return how many there were."""
    ids = sorted(document_ids)
    count = 0
    for start in range(0, len(ids), REMOVE_BATCH):
        batch = Document.objects.for_tenant(tenant).filter(pk__in=ids[start : start + REMOVE_BATCH])
        count += batch.only("pk").delete()[1].get(Document._meta.label, 0)
    if count:
        version.add_change(tenant.knowledge_id)
    return count


def start_full_sync(*, tenant: Tenant, batch_size: int = full_sync.BATCH_SIZE) -> FullSync:
    """Have all of the tenant's vectors made anew by the settings' model, at most ``batch_size`` a message.

    Returns the run that is open already, if there is one: asking twice starts one.
    """
    with transaction.atomic():
        run = full_sync.open_for(tenant.knowledge_id, batch_size=batch_size)
        transaction.on_commit(send_full_syncs)
    return run


def start_full_sync_of_all(*, batch_size: int = full_sync.BATCH_SIZE) -> str:
    """Have it done for every tenant, a few at a time; return the id of the task that opens the runs.

    Raises:
        BrokerUnavailableError: if the broker is away: here no row waits for the task.
    """
    task_id = str(uuid.uuid4())
    if not enqueue.publish(trigger_full_sync_task, {"batch_size": batch_size}, task_id=task_id):
        raise enqueue.BrokerUnavailableError("The task could not be sent; try again.")
    return task_id


def stop_full_sync(*, run_id: uuid.UUID | str) -> bool:
    """End the run for good; False if it is over, or has switched the tenant already and must be finished."""
    return full_sync.close(run_id, full_sync.STOPPED)


def delete_document_embeddings(*, document: Document) -> EmbeddingDeletion:
    """Have the document's passages and vectors deleted for good; it keeps its row and its text.

    Returns the deletion that is queued already, if there is one.
    """
    with transaction.atomic():
        deletion, is_new = EmbeddingDeletion.objects.get_or_create(
            document=document, state=State.QUEUED, defaults={"tenant_id": document.tenant_id, "url": document.url}
        )
        if is_new:
            kwargs = {"document_id": str(document.pk)}
            enqueue.send(
                delete_document_embeddings_task, kwargs, tenant_id=document.tenant.customer_id, task_id=deletion.pk
            )
    return deletion


@transaction.atomic
def resync_document(*, document: Document) -> SyncItem:
    """Cut the document's text into passages anew and queue their vectors; also where they were deleted on demand."""
    document = Document.objects.select_for_update(no_key=True).get(pk=document.pk)
    document.excluded_at = None
    document.save(update_fields=["excluded_at"])
    EmbeddingDeletion.objects.filter(document=document, state=State.QUEUED).update(
        state=State.FAILED, finished_at=Now()
    )
    _replace_chunks(document)
    item = _queue(document)
    version.add_change(document.tenant_id)
    return item


def retry_failed(*, tenant: Tenant | None = None) -> tuple[int, int]:
    """Queue again what was given up: documents, and full syncs where they stopped; return how many of each."""
    tenant_id = tenant.knowledge_id if tenant else None
    with transaction.atomic():
        documents = sync_queue.retry_failed(tenant_id=tenant_id)
        runs = full_sync.retry_failed(tenant_id=tenant_id)
        transaction.on_commit(partial(send_due, tenant_id=tenant_id))
        transaction.on_commit(send_full_syncs)
    return documents, runs


def _replace_chunks(document: Document, *, is_new: bool = False) -> None:
    """Bring the chunk rows in step with the content; a row whose text is still there keeps its vector."""
    left = defaultdict(list)
    for chunk in [] if is_new else document.chunks.order_by("chunk_index").defer(*Chunk.LARGE):
        left[chunk.content_hash].append(chunk)
    new: list[Chunk] = []
    kept: list[Chunk] = []
    for number, passage in enumerate(chunking.split(document.content)):
        text = indexing.passage_text(title=document.title, heading_path=passage.heading_path, content=passage.content)
        content_hash = indexing.digest(text)
        same = left[content_hash]
        chunk = same.pop(0) if same else Chunk(tenant_id=document.tenant_id, document=document)
        (kept if chunk.pk else new).append(chunk)
        chunk.chunk_index = number
        chunk.heading_path, chunk.content, chunk.content_hash = passage.heading_path, passage.content, content_hash
        chunk.search_vector, chunk.word_count = indexing.search_vector(
            title=document.title, heading_path=passage.heading_path, content=passage.content
        )
    Chunk.objects.filter(pk__in=[chunk.pk for chunks in left.values() for chunk in chunks]).delete()
    Chunk.objects.bulk_update(kept, ["chunk_index", "heading_path", "search_vector", "word_count"], batch_size=200)
    Chunk.objects.bulk_create(new, batch_size=200)


def _queue(document: Document, *, rings: bool = True) -> SyncItem:
    """Have the document's vectors made; a worker at it already loses its claim and the work starts over."""
    anew = {"state": State.QUEUED, "attempts": 0, "not_before": Now(), "error": "", **SyncItem.UNCLAIMED}
    (item,) = SyncItem.objects.bulk_create(
        [SyncItem(document=document, tenant_id=document.tenant_id, **anew)],
        update_conflicts=True,
        unique_fields=["document"],
        update_fields=list(anew),
    )
    if rings:
        transaction.on_commit(partial(send_due, tenant_id=document.tenant_id))
    return item
