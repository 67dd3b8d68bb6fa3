"""Take a website away with all that was read from it, in every version of the knowledge."""

from django.db import transaction

from crawl import versions
from crawl.models import CrawlRun, Page, Upload, Website
from knowledge import services as knowledge


@transaction.atomic
def remove(website: Website) -> int:
    """Delete the website, its runs, its pages and their documents; return how many of those were live.

    A document that a page of another website of the tenant holds as well stays, and so does one that was handed over.
    The pages are locked first, in the order in which workers take them, so that none can store a document that this
    does not see.
    """
    for twin in versions.twins_of(website):
        remove(twin)
    pages = Page.objects.filter(website=website)
    urls = set(pages.order_by("pk").select_for_update(no_key=True).values_list("url", flat=True))
    others = Page.objects.for_tenant(website.tenant).exclude(website=website).filter(document__isnull=False)
    uploads = Upload.objects.for_tenant(website.tenant)
    for held in (others, uploads):
        urls -= set(held.filter(url__in=urls).values_list("url", flat=True))
    pages.delete()
    count = knowledge.remove_pages(tenant=website.tenant, urls=urls)
    CrawlRun.objects.filter(website=website).delete()
    website.delete()
    return count
