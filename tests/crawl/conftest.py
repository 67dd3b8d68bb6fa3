"""Run crawls without a worker: messages are collected, and the tasks called one after the other."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest
from celery import current_app

from tests.site import Site, running_site

if TYPE_CHECKING:  # the settings are not there yet when pytest reads this file
    from crawl.models import CrawlRun, Website
    from tenants.models import Tenant

Message = tuple[str, dict[str, object]]


@pytest.fixture
def tenant(db: None) -> "Tenant":
    from tenants.services import create_tenant

    return create_tenant(slug="acme")


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Message]:
    """The messages sent and not yet worked on."""
    from crawl import sending

    messages: list[Message] = []
    monkeypatch.setattr(sending, "_after_commit", lambda name, _tenant_id, **kwargs: messages.append((name, kwargs)))
    return messages


@pytest.fixture
def site(settings: object) -> Iterator[Site]:
    with running_site() as running:
        settings.OUTBOUND_ALLOWED_HOSTS = [running.host_port]
        yield running


@pytest.fixture
def work(sent: list[Message]) -> Callable[..., None]:
    """Call the tasks of all messages until none is left (or ``at_most`` have run)."""

    current_app.loader.import_module("crawl.tasks")

    def run_messages(at_most: int = 10_000) -> None:
        for _turn in range(at_most):
            if not sent:
                return
            name, kwargs = sent.pop(0)
            current_app.tasks[name](**kwargs)

    return run_messages


@pytest.fixture
def crawl(tenant: "Tenant", site: Site, work: Callable[..., None]) -> "Callable[..., CrawlRun]":
    """Crawl the site to its end and return the finished run."""
    from crawl import services
    from crawl.models import CrawlRun
    from crawl.sweeping import sweep

    def crawl_site(path: str = "/", **options: object) -> CrawlRun:
        website = services.add_website(tenant=tenant, url=site.url + path, **options)
        run = services.start_crawl(website=website)
        for _round in range(50):
            work()
            run.refresh_from_db()
            if run.is_finished:
                break
            CrawlRun.objects.filter(pk=run.pk).update(send_at=run.created_at, not_before=None)
            run.pages.update(not_before=None)
            sweep()
        return run

    return crawl_site


@pytest.fixture
def shop(site: Site, crawl: "Callable[..., CrawlRun]") -> "Website":
    """A website of three pages that has been crawled."""
    site.add_page("/", '<p>Welcome to the workshop.</p><a href="/price">Price</a><a href="/hours">Hours</a>')
    site.add_page("/price", "<p>The lamp costs 20 euros in the shop.</p>")
    site.add_page("/hours", "<p>The shop is open from nine to five.</p>")
    return crawl().website


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """No message leaves, as if all had been sent."""
    monkeypatch.setattr("core.enqueue.publish", lambda *_args, **_options: True)
