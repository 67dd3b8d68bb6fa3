"""Take a website away with all that was read from it."""

from django.db import transaction

from crawl.models import CrawlRun, Page, Website
from knowledge import services as knowledge


@transaction.atomic
def remove(website: Website) -> int:
    """Delete the website, its runs, its pages and their documents; return how many documents went.

    A document that a page of another website of the tenant holds as well stays. The pages are locked first, in the
    order in which workers take them, so that none can store a document that this does not see.
    """
    pages = Page.objects.filter(website=website)
    list(pages.order_by("pk").select_for_update(no_key=True).values_list("pk", flat=True))
    held = set(pages.exclude(document=None).values_list("document_id", flat=True))
    others = Page.objects.for_tenant(website.tenant).exclude(website=website).filter(document__isnull=False)
    shared = set(others.filter(document__in=held).values_list("document_id", flat=True))
    pages.delete()
    count = knowledge.remove_documents(tenant=website.tenant, document_ids=held - shared)
    CrawlRun.objects.filter(website=website).delete()
    website.delete()
    return count
