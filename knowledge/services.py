"""What may be done with a tenant's knowledge: store a page, remove pages, make vectors anew or delete them."""

import re
import uuid
from collections.abc import Iterable
from datetime import datetime
from functools import partial

from django.db import transaction
from django.db.models.functions import Now

from core import enqueue
from core.states import State
from knowledge import copying, full_sync, holders, refetching, storing, sync_queue, version
from knowledge.errors import PageInvalidError
from knowledge.models import Document, EmbeddingDeletion, FullSync, SyncItem, VersionCopy
from knowledge.tasks import (
    delete_document_embeddings_task,
    send_copies,
    send_due,
    send_full_syncs,
    trigger_full_sync_task,
)
from tenants.models import Tenant

URL_MAX_BYTES = 2000  # the unique index on (tenant, url) takes 2,704 bytes a row at most
REMOVE_BATCH = 500
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")  # PostgreSQL refuses both


def store_page(
    *, tenant: Tenant, url: str, title: str, language: str, content: str, fetched_at: datetime, rings: bool = True
) -> Document:
    """Make the page's text searchable by words at once, and by meaning soon; return its document in the live version.

    The versions beside that get it too (`knowledge.holders`). Unchanged text only moves ``fetched_at``. Passages that
    stayed the same keep their rows and vectors. Two workers storing one URL take turns, and the text fetched last wins.
    A document whose passages were deleted on demand keeps its text up to date and stays without passages
    (`resync_document`). Who stores many pages rings once for all, with `ring_for_vectors`.

    Raises:
        PageInvalidError: if the URL is empty or longer than 2,000 bytes.
    """
    if not url or len(url.encode(errors="replace")) > URL_MAX_BYTES:
        raise PageInvalidError(f"A page needs a URL of at most {URL_MAX_BYTES} bytes.")
    text = storing.Text(_UNSTORABLE.sub("", title).strip()[:500], language, _UNSTORABLE.sub("", content))
    with transaction.atomic():
        versions = holders.of_change(tenant)
        stored = {
            holder_id: storing.store(text, holder_id=holder_id, url=url, fetched_at=fetched_at)
            for holder_id in versions.all
        }
        for document, is_anew in stored.values():
            if is_anew:
                _queue(document, rings=rings)
                version.add_change(document.tenant_id)
    return stored[versions.live][0]


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


def remove_page(*, tenant: Tenant, url: str, has_moved: bool = False) -> bool:
    """Forget the page with its passages and vectors; return False if there was none.

    One that ``has_moved`` (its text stands at another address) goes from the live version alone: those beside it may
    not have that address.
    """
    return bool(_remove(tenant, [url], has_moved=has_moved))


@transaction.atomic
def remove_pages(*, tenant: Tenant, urls: Iterable[str]) -> int:
    """Forget these pages of the tenant with their passages and vectors; return how many the live version had."""
    found = sorted(urls)
    return sum(_remove(tenant, found[start : start + REMOVE_BATCH]) for start in range(0, len(found), REMOVE_BATCH))


@transaction.atomic
def _remove(tenant: Tenant, urls: list[str], *, has_moved: bool = False) -> int:
    versions = holders.of_change(tenant)
    holders.take_away_apart(tenant.customer_id)
    changed = [versions.live] if has_moved else versions.all
    rows = Document.objects.filter(tenant__in=changed, url__in=urls).order_by("tenant", "pk")
    owners = dict(rows.select_for_update().values_list("pk", "tenant"))
    Document.objects.filter(pk__in=owners).only("pk").delete()
    for holder_id in set(owners.values()):
        version.add_change(holder_id)
    return list(owners.values()).count(versions.live)


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
    items = {twin.pk: _resync(twin) for twin in holders.twins(document)}
    return items[document.pk]


def _resync(document: Document) -> SyncItem:
    document.excluded_at = None
    document.save(update_fields=["excluded_at"])
    EmbeddingDeletion.objects.filter(document=document, state=State.QUEUED).update(
        state=State.FAILED, finished_at=Now()
    )
    storing.replace_passages(document, storing.Text(document.title, document.language, document.content))
    item = _queue(document)
    version.add_change(document.tenant_id)
    return item


def begin_copy(*, source: Tenant, target: Tenant, is_whole: bool) -> VersionCopy:
    """Have the source's live version copied to the target, as `copying.begin` says; in the caller's transaction.

    What is changed from then on is changed in both.
    """
    copy = copying.begin(source=source, target=target, is_whole=is_whole)
    transaction.on_commit(send_copies)
    return copy


def retry_failed(*, tenant: Tenant | None = None) -> tuple[int, int]:
    """Queue again what was given up: documents, and full syncs where they stopped; return how many of each."""
    tenant_id = tenant.knowledge_id if tenant else None
    with transaction.atomic():
        documents = sync_queue.retry_failed(tenant_id=tenant_id)
        runs = full_sync.retry_failed(tenant_id=tenant_id)
        transaction.on_commit(partial(send_due, tenant_id=tenant_id))
        transaction.on_commit(send_full_syncs)
    return documents, runs


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
