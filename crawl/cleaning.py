"""Taking away what crawls left behind."""

from django.db import transaction
from django.db.models import Exists, OuterRef

from core.batches import Step
from crawl.models import Page, PageBody


@transaction.atomic
def forget_leftover_bodies(limit: int) -> int:
    """Delete stored bodies of pages whose text is taken, or will not be; return how many.

    The pages are locked first, as everywhere, so that none of them gets a new body meanwhile.
    """
    has_body = Exists(PageBody.objects.filter(page=OuterRef("pk")))
    left = Page.objects.filter(has_body).exclude(state=Page.State.FETCHED)
    ids = list(left.select_for_update(no_key=True, skip_locked=True).values_list("pk", flat=True)[:limit])
    return PageBody.objects.filter(pk__in=ids).delete()[0]


CACHE: dict[str, Step] = {"page_bodies": forget_leftover_bodies}
