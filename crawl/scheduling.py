"""Websites that are crawled by the clock."""

from django.utils import timezone

from crawl import services
from crawl.errors import CrawlAlreadyActiveError
from crawl.models import Website

LIMIT = 100


def start_due() -> int:
    """Start the crawl of each website whose time has come; one that is being crawled is left to that. Return how many.

    Starting a crawl, in whatever way, sets the time of the next.
    """
    due = Website.objects.filter(next_crawl_at__lte=timezone.now(), tenant__is_active=True)
    started = 0
    for website in due.select_related("tenant").order_by("next_crawl_at")[:LIMIT]:
        try:
            services.start_crawl(website=website)
            started += 1
        except CrawlAlreadyActiveError:
            website.plan_next_crawl()
            website.save(update_fields=["next_crawl_at"])
    return started
