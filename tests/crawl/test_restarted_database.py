"""A database that is restarted under a crawl's work: the work is done again, and nothing is closed as failed."""

import psycopg2
import pytest
from django.db import OperationalError

from crawl import frontier, processing, services
from crawl.models import CrawlRun
from tests.site import add_tree


@pytest.fixture
def run(tenant, site, sent):
    add_tree(site, 12)
    return services.start_crawl(website=services.add_website(tenant=tenant, url=site.url))


def lose_the_session(*_args):
    raise OperationalError from psycopg2.OperationalError("server closed the connection unexpectedly")


def test_a_slice_is_tried_again_at_once(run, work, monkeypatch):
    monkeypatch.setattr(frontier, "seed", lose_the_session)
    with pytest.raises(OperationalError):
        work()

    run.refresh_from_db()
    assert (run.state, run.error) == ("running", "")
    assert CrawlRun.objects.due().free().get() == run


def test_pages_are_taken_again(run, work, monkeypatch):
    monkeypatch.setattr(processing, "read", lose_the_session)
    with pytest.raises(OperationalError):
        work()

    assert not run.pages.filter(state__in=["failed", "done"]).exists()
