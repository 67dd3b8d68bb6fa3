"""A crawl by real workers over a real broker, one of which is killed."""

import json
import os
import signal
from io import StringIO

import pytest
from django.conf import settings as django_settings
from django.core.management import CommandError, call_command
from django.utils import timezone

from crawl import services
from crawl.models import CrawlRun, Host, Page
from crawl.sweeping import sweep
from knowledge.models import Document
from tests.site import add_tree, running_site
from tests.workers import running_worker, wait_until


@pytest.fixture
def busy_site(settings, redis_client):
    with running_site() as site:
        add_tree(site, 60)
        site.answer_after(0.01)
        settings.OUTBOUND_ALLOWED_HOSTS = [site.host_port]
        yield site


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_a_crawl_survives_the_death_of_its_worker(busy_site):
    from tenants.services import create_tenant

    tenant = create_tenant(slug="acme")
    website = services.add_website(tenant=tenant, url=busy_site.url)
    options = {"queues": ["low_priority"], "pool": "prefork", "concurrency": 2}
    env = {"OUTBOUND_ALLOWED_HOSTS": busy_site.host_port, "EMBEDDING_BASE_URL": "http://127.0.0.1:9"}
    with running_worker(**options, env=env) as worker:
        run = services.start_crawl(website=website)
        wait_until(lambda: Page.objects.filter(state="done").count() >= 5, 60, lambda: worker.log)
        worker.kill()

    with running_worker(**options, env=env) as worker:
        CrawlRun.objects.filter(lease_until__gt=timezone.now()).update(
            lease_until=timezone.now(), send_at=timezone.now()
        )
        Page.objects.filter(state="fetched").update(lease_until=None, send_at=timezone.now())

        def is_finished():
            sweep()
            run.refresh_from_db()
            return run.is_finished

        wait_until(is_finished, 90, lambda: worker.log[-3000:])

    assert (run.state, run.error) == ("done", "")
    assert Document.objects.count() == 60
    assert busy_site.in_flight_max <= django_settings.CRAWL_OWN_HOST_CONNECTIONS


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_a_page_that_kills_its_worker_is_stopped_after_three_tries_and_the_others_are_read(busy_site):
    from tenants.services import create_tenant

    tenant = create_tenant(slug="acme")
    add_tree(busy_site, 6)
    deaths = []

    def kill_the_worker(_request):
        deaths.append(1)
        for child in children_of(worker.process.pid):
            os.kill(child, signal.SIGKILL)

    busy_site.routes["/product/1/"].send = kill_the_worker
    env = {"OUTBOUND_ALLOWED_HOSTS": busy_site.host_port, "EMBEDDING_BASE_URL": "http://127.0.0.1:9"}
    with running_worker(queues=["low_priority"], pool="prefork", concurrency=1, env=env) as worker:
        run = services.start_crawl(website=services.add_website(tenant=tenant, url=busy_site.url))

        def is_finished():
            seen = len(deaths)
            if seen > len(forgiven):  # as if the lease's seconds had passed
                forgiven.append(1)
                now = timezone.now()
                CrawlRun.objects.filter(lease_until__gt=now).update(lease_until=now, send_at=now)
                Page.objects.filter(lease_until__gt=now).update(lease_until=now, send_at=now)
                Host.objects.update(lease_until=None)
            sweep()
            run.refresh_from_db()
            return run.is_finished

        forgiven = []
        wait_until(is_finished, 60, lambda: worker.log[-3000:])

    assert (run.state, len(deaths)) == ("done", 3)
    assert Page.objects.get(url__endswith="/product/1/").reason == "crashed"
    assert Document.objects.count() == 5


def children_of(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as children:
        return [int(child) for child in children.read().split()]


def test_the_command_starts_a_crawl_and_says_so(tenant, site, sent):
    add_tree(site, 3)
    out = StringIO()
    call_command("crawl", site.url, "--tenant", "acme", "--json", "--max-pages", "2", stdout=out)

    assert json.loads(out.getvalue())["state"] == "queued"
    assert len(sent) == 1


def test_the_command_waits_for_the_end_and_fails_with_the_crawl(tenant, site, sent, work, monkeypatch):
    from crawl.management.commands import crawl

    monkeypatch.setattr(crawl.time, "sleep", lambda _seconds: work())
    out, err = StringIO(), StringIO()
    with pytest.raises(SystemExit) as status:
        call_command("crawl", site.url, "--tenant", "acme", "--wait", stdout=out, stderr=err)

    assert status.value.code == 1
    assert "does not exist" in err.getvalue()


@pytest.mark.parametrize(("url", "slug"), [("http://10.0.0.1/", "acme"), ("https://example.com/", "nobody")])
def test_the_command_says_what_is_wrong(tenant, url, slug):
    with pytest.raises(CommandError) as error:
        call_command("crawl", url, "--tenant", slug)

    assert error.value.returncode == 2
