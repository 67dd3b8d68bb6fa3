"""Taking away what crawls left behind."""

from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone

from core.batches import Step
from crawl import versions
from crawl.models import Page, PageBody
from knowledge import dropping
from tenants.models import Tenant


@transaction.atomic
def forget_leftover_bodies(limit: int) -> int:
    """Delete stored bodies of pages whose text is taken, or will not be; return how many.

    The pages are locked first, as everywhere, so that none of them gets a new body meanwhile.
    """
    has_body = Exists(PageBody.objects.filter(page=OuterRef("pk")))
    left = Page.objects.filter(has_body).exclude(state=Page.State.FETCHED)
    ids = list(left.select_for_update(no_key=True, skip_locked=True).values_list("pk", flat=True)[:limit])
    return PageBody.objects.filter(pk__in=ids).delete()[0]


def drop_previous_versions(limit: int) -> int:
    """Drop the versions of knowledge that were switched away from long ago; return how many."""
    before = timezone.now() - timedelta(days=settings.KNOWLEDGE_KEEP_VERSION_DAYS)
    old = Tenant.objects.filter(version=Tenant.Version.PREVIOUS, version_since__lt=before)[:limit]
    for holder in (found := list(old)):
        versions.drop(holder)
    return len(found)


CACHE: dict[str, Step] = {
    "page_bodies": forget_leftover_bodies,
    "previous_versions": drop_previous_versions,
    "dropped_chunks": dropping.forget_dropped_chunks,
    "dropped_documents": dropping.forget_dropped_documents,
    "dropped_versions": versions.forget_empty,
}
