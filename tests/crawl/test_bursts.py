"""How many requests a host gets at a time, and what becomes of the pages asked for together."""

from collections import Counter

import pytest
from django.utils import timezone

from crawl import hosts, services
from crawl.models import Page
from tests.site import Answer, add_tree, html


def test_the_operators_own_host_is_asked_for_several_pages_at_once_but_not_more_than_set(crawl, site, settings):
    settings.CRAWL_OWN_HOST_CONNECTIONS = 3
    add_tree(site, 20)
    site.answer_after(0.03)

    assert crawl().state == "done"
    assert 1 < site.in_flight_max <= 3
    assert max(Counter(site.paths()).values()) == 1, "no page was asked for twice"


def test_any_other_host_is_asked_for_one_page_at_a_time(crawl, site, monkeypatch):
    monkeypatch.setattr(hosts, "gap_seconds", lambda _url: 0.001)
    add_tree(site, 12)
    site.answer_after(0.03)

    assert crawl().state == "done"
    assert site.in_flight_max == 1


def test_a_delay_in_robots_txt_is_kept_on_the_operators_own_host_too(tenant, site, sent, work, settings):
    settings.CRAWL_SLICE_SECONDS = 1
    add_tree(site, 12)
    site.routes["/robots.txt"] = Answer(b"User-agent: *\nCrawl-delay: 0.2\n")
    services.start_crawl(website=services.add_website(tenant=tenant, url=site.url))
    work(at_most=1)

    assert site.in_flight_max == 1


@pytest.mark.usefixtures("sent")
def test_a_site_that_is_busy_in_the_middle_of_a_burst_gets_its_rest_and_loses_no_page(tenant, site, work, settings):
    settings.CRAWL_OWN_HOST_CONNECTIONS = 1
    add_tree(site, 12)
    page = site.routes["/product/4/"]
    site.routes["/product/4/"] = Answer(status=503, headers={"Retry-After": "7"})
    run = services.start_crawl(website=services.add_website(tenant=tenant, url=site.url))
    work()

    run.refresh_from_db()
    assert 5 < (run.not_before - timezone.now()).total_seconds() <= 7
    unasked = Page.objects.filter(state="queued").exclude(url__endswith="/product/4/")
    assert unasked.exists()
    assert set(unasked.values_list("attempts", flat=True)) == {0}
    assert Page.objects.exclude(state="queued").exists(), "what came before was kept"

    site.routes["/product/4/"] = page
    type(run).objects.filter(pk=run.pk).update(not_before=None)
    hosts.release(site.host_port, 0)
    Page.objects.update(not_before=None)
    from crawl.tasks import crawl_website_task

    crawl_website_task(run_id=str(run.pk))
    run.refresh_from_db()
    assert (run.state, Page.objects.filter(state="done").count()) == ("done", 12)


def test_a_page_that_fails_does_not_take_others_of_its_burst_along(crawl, site):
    add_tree(site, 12)
    site.routes["/product/1/"] = Answer(send=lambda handler: handler.connection.close())
    site.routes["/product/2/"] = html("x" * 6_000_000)
    run = crawl()

    reasons = dict(run.pages.values_list("url", "reason"))
    assert reasons[f"{site.url}/product/2/"] == "too_large"
    assert run.pages.filter(state="done").count() == 10
