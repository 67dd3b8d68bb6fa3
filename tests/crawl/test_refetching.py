"""Single pages read again because answers rest on them."""

from datetime import timedelta

import pytest
from django.utils import timezone

from core.states import State
from crawl import refetching, services
from crawl.errors import CrawlAlreadyActiveError
from crawl.models import CrawlRun, Page
from knowledge.models import Document, Refetch
from knowledge.services import wish_refetch

pytestmark = pytest.mark.django_db

DISLIKED = Refetch.Reason.DISLIKED


@pytest.fixture
def crawled(site, crawl):
    """A website of three pages, read a day ago."""
    site.add_page("/", '<p>Welcome to the workshop.</p><a href="/price">Price</a><a href="/hours">Hours</a>')
    site.add_page("/price", "<p>The lamp costs 20 euros in the shop.</p>")
    site.add_page("/hours", "<p>The shop is open from nine to five.</p>")
    run = crawl()
    Document.objects.update(fetched_at=timezone.now() - timedelta(days=1))
    site.requests.clear()
    return run.website


@pytest.fixture
def wish(tenant, site):
    def wish(*paths, reason=DISLIKED):
        return wish_refetch(tenant=tenant, urls=[site.url + path for path in paths], reason=reason)

    return wish


def pages_asked_for(site):
    return [path for path in site.paths() if path != "/robots.txt"]


def test_only_the_wished_page_is_asked_for_and_only_if_it_has_changed(crawled, site, wish, work, tenant):
    before = timezone.now()
    assert wish("/price") == 1
    assert refetching.sweep() == 1
    work()

    assert pages_asked_for(site) == ["/price"]
    assert site.requests[-1][2]["if-none-match"]
    document = Document.objects.get(url=f"{site.url}/price")
    assert document.fetched_at > before, "found unchanged: that is its new date"
    run = CrawlRun.objects.latest("created_at")
    assert (run.is_partial, run.state, run.error) == (True, State.DONE, "")
    assert refetching.sweep() == 0


def test_a_page_that_changed_is_learnt_and_its_new_links_are_left_to_the_next_crawl(crawled, site, wish, work):
    site.add_page("/price", '<p>The lamp costs 25 euros in the shop.</p><a href="/new">New</a>')
    site.add_page("/new", "<p>Something new.</p>")
    wish("/price")
    refetching.sweep()
    work()

    assert "25 euros" in Document.objects.get(url=f"{site.url}/price").content
    assert pages_asked_for(site) == ["/price"]


def test_a_page_that_is_gone_is_not_cited_any_more(crawled, site, wish, work):
    del site.routes["/price"]
    wish("/price")
    refetching.sweep()
    work()

    assert not Document.objects.filter(url=f"{site.url}/price").exists()
    assert CrawlRun.objects.latest("created_at").state == State.DONE


def test_a_hundred_wishes_for_a_page_are_one_reading_in_a_period(crawled, site, wish, work):
    assert sum(wish("/price", "/hours") for _again in range(100)) == 2
    refetching.sweep()
    work()
    assert wish("/price") == 0
    refetching.sweep()
    work()
    assert sorted(pages_asked_for(site)) == ["/hours", "/price"]

    an_age_ago = timezone.now() - timedelta(days=1)
    Document.objects.update(fetched_at=an_age_ago)
    assert wish("/price") == 0, "asked for in this period, whatever came of it"
    Refetch.objects.update(asked_at=an_age_ago)
    assert wish("/price") == 1


def test_wishes_wait_while_the_website_is_crawled_and_are_fulfilled_by_that(crawled, site, wish, work):
    services.start_crawl(website=crawled)
    wish("/price")
    assert refetching.sweep() == 0
    work()

    assert refetching.sweep() == 0
    assert Refetch.objects.get().taken_at


def test_a_crawl_asked_for_meanwhile_takes_the_small_run_over(crawled, site, wish, work):
    wish("/price")
    refetching.sweep()
    small = CrawlRun.objects.active().get()
    held = CrawlRun.objects.claim(small.pk)  # a worker is in the midst of it
    run = services.start_crawl(website=crawled)
    assert not held.record(), "that worker stops"
    work()

    run.refresh_from_db()
    assert (run.pk, run.is_partial, run.state) == (small.pk, False, State.DONE)
    assert set(pages_asked_for(site)) >= {"/", "/price", "/hours", "/sitemap.xml"}
    services.start_crawl(website=crawled)
    with pytest.raises(CrawlAlreadyActiveError):
        services.start_crawl(website=crawled)


def test_a_document_of_no_website_is_not_waited_for(tenant, store_page):
    store_page("https://acme.example/upload")
    wish_refetch(tenant=tenant, urls=["https://acme.example/upload"], reason=DISLIKED)

    assert refetching.sweep() == 0
    assert Refetch.objects.get().taken_at


def test_another_tenants_page_of_the_same_address_is_not_asked_for(crawled, site, work):
    from tenants.services import create_tenant

    assert wish_refetch(tenant=create_tenant(slug="other"), urls=[f"{site.url}/price"], reason=DISLIKED) == 0
    assert refetching.sweep() == 0


@pytest.fixture
def store_page(tenant):
    from knowledge.services import store_page

    def store(url):
        at = timezone.now() - timedelta(days=2)
        return store_page(tenant=tenant, url=url, title="", language="en", content="Text.", fetched_at=at)

    return store


def test_every_page_keeps_its_row_and_reason(crawled, wish, work, site):
    before = Page.objects.count()
    wish("/price")
    refetching.sweep()
    work()

    assert Page.objects.count() == before
    assert Page.objects.get(url=f"{site.url}/price").reason == Page.Reason.UNCHANGED
