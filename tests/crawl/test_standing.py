"""What a crawl says of itself while it waits, works, pauses or is stuck."""

import json
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import call_command
from django.utils import timezone

from crawl import services, slices
from crawl.models import CrawlRun
from crawl.standing import STUCK_AFTER, Condition, condition_of, standing
from crawl.sweeping import sweep
from tenants.services import create_tenant
from tests.site import Answer, add_tree


@pytest.fixture
def start(tenant, site, sent):
    def start_crawl(path="/", owner=tenant):
        return services.start_crawl(website=services.add_website(tenant=owner, url=f"{site.url}{path}"))

    return start_crawl


def set_back(run, **columns):
    CrawlRun.objects.filter(pk=run.pk).update(**columns)
    run.refresh_from_db()


def test_a_crawl_beyond_its_tenants_share_is_in_line_and_knows_its_place(start, settings):
    settings.CRAWL_RUNS_PER_TENANT = 1
    _first, second, third = (start(f"/{number}/") for number in range(3))

    assert (standing(second).condition, standing(second).place) == (Condition.IN_LINE, 1)
    assert (standing(third).condition, standing(third).place) == (Condition.IN_LINE, 2)


def test_a_crawl_that_no_worker_has_taken_waits_behind_those_sent_before(start):
    first, other = start(), start(owner=create_tenant(slug="other"))
    first.refresh_from_db()
    other.refresh_from_db()

    assert (standing(first).condition, standing(first).place) == (Condition.WAITING, 1)
    assert (standing(other).condition, standing(other).place) == (Condition.WAITING, 2)


def test_a_crawl_that_the_site_asks_to_rest_pauses_until_then(start, site, work):
    add_tree(site, 3)
    site.routes["/robots.txt"] = Answer(b"User-agent: *\nCrawl-delay: 20\n")
    run = start()
    work()
    run.refresh_from_db()

    where = standing(run)
    assert (where.condition, where.place, where.resumes_at) == (Condition.PAUSING, None, run.not_before)


def test_a_crawl_whose_worker_died_is_stuck_and_goes_on_where_it_was(start, site, work, sent, monkeypatch):
    add_tree(site, 12)
    run = start()
    with monkeypatch.context() as patch:
        patch.setattr(slices, "_process_pages", lambda *_args: False)
        work(at_most=1)  # all is fetched, nothing read
    sent.clear()
    run = CrawlRun.objects.claim(run.pk)
    assert condition_of(run) == Condition.MOVING
    asked = len(site.requests)

    ago = timezone.now() - timedelta(seconds=1)
    set_back(run, lease_until=ago, send_at=ago)
    assert condition_of(run) == Condition.STUCK
    sweep()
    work()

    run.refresh_from_db()
    assert (condition_of(run), run.state) == (Condition.OVER, "done")
    assert len(site.requests) == asked, "no page was fetched again"


def test_a_crawl_that_is_held_and_does_not_move_is_stuck(start):
    run = CrawlRun.objects.claim(start().pk)
    set_back(run, started_at=timezone.now() - 2 * STUCK_AFTER, moved_at=timezone.now() - STUCK_AFTER / 2)
    assert condition_of(run) == Condition.MOVING

    set_back(run, moved_at=timezone.now() - 2 * STUCK_AFTER)
    assert condition_of(run) == Condition.STUCK
    assert standing(run).resumes_at == run.send_at


def test_progress_tells_rate_and_when_it_last_moved(crawl, site):
    add_tree(site, 4)
    run = crawl()

    now = services.progress(run)
    assert (now.condition, now.place) == ("over", None)
    assert now.pages_per_minute == round(now.pages_per_second * 60, 1) > 0
    assert run.started_at < now.moved_at <= run.finished_at


def test_the_command_tells_where_the_crawl_stands(tenant, site, sent):
    out = StringIO()
    call_command("crawl", site.url, "--tenant", "acme", "--json", stdout=out)

    told = json.loads(out.getvalue())
    assert (told["condition"], told["place"], told["moved_at"]) == ("waiting", 1, None)
