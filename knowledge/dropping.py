"""A version of a tenant's knowledge taken away, bit by bit."""

from knowledge.models import Chunk, Document, FullSync, SyncItem, VersionCopy
from tenants.models import Tenant


def stop_work(holder: Tenant) -> None:
    """Have nothing more copied to the row, and no more vectors made for what it holds."""
    VersionCopy.objects.filter(tenant=holder).delete()
    SyncItem.objects.filter(tenant=holder).delete()
    FullSync.objects.filter(tenant=holder).delete()


def forget_dropped_chunks(limit: int) -> int:
    """Delete passages of versions that were dropped; return how many."""
    return _delete_dropped(Chunk, limit)


def forget_dropped_documents(limit: int) -> int:
    """Delete documents of versions that were dropped; return how many."""
    return _delete_dropped(Document, limit)


def _delete_dropped(model: type[Chunk | Document], limit: int) -> int:
    dropped = model.objects.filter(tenant__version=Tenant.Version.DROPPED).order_by()
    ids = list(dropped.values_list("pk", flat=True)[:limit])
    model.objects.filter(pk__in=ids).delete()
    return len(ids)
