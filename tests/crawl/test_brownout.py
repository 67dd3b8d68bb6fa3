"""What a crawl does while chats wait too long."""

from django.utils import timezone

from core import brownout
from core.states import State
from crawl import services, slices
from crawl.models import CrawlRun, Page
from tests.site import add_tree


def test_a_crawl_pauses_between_two_slices_and_leaves_no_message_in_the_queue(
    tenant, site, sent, settings, monkeypatch
):
    monkeypatch.setattr(brownout, "level", lambda: 1)
    settings.CRAWL_SLICE_SECONDS = 0.0
    services.start_crawl(website=services.add_website(tenant=tenant, url=site.url))
    _name, kwargs = sent.pop()

    slices.run_slice(CrawlRun.objects.claim(**kwargs))

    run = CrawlRun.objects.get()
    assert sent == []
    assert run.state == State.RUNNING
    assert run.not_before > timezone.now()
    assert run.send_at == run.not_before, "the sweeper sends it when the pause is over"


def test_a_crawl_fetches_ahead_by_fewer_pages(tenant, site, sent, settings, monkeypatch):
    monkeypatch.setattr(brownout, "level", lambda: brownout.LEVEL_MAX)
    monkeypatch.setattr(brownout, "pause_seconds", lambda: 0.0)
    add_tree(site, 30)
    settings.CRAWL_HOST_GAP_SECONDS = 0.0
    services.start_crawl(website=services.add_website(tenant=tenant, url=site.url))
    while "crawl.crawl_website_task" in [name for name, _kwargs in sent]:
        name, kwargs = sent.pop(0)
        if name == "crawl.crawl_website_task":
            slices.run_slice(CrawlRun.objects.claim(**kwargs))
        else:
            sent.append((name, kwargs))

    assert Page.objects.filter(state=Page.State.FETCHED).count() <= slices.UNPROCESSED_MAX >> brownout.LEVEL_MAX
