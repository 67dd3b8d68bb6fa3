"""What happens to a crawl when messages are lost or doubled, workers die, and tenants compete."""

from datetime import timedelta

import pytest
from celery import current_app
from celery.exceptions import SoftTimeLimitExceeded
from django.conf import settings as django_settings
from django.utils import timezone

from core import turns
from core.jobs import CLAIMS_MAX
from crawl import finishing, frontier, processing, sending, services, slices
from crawl.errors import CrawlAlreadyActiveError, WebsiteInvalidError
from crawl.models import CrawlRun, Page
from crawl.sweeping import sweep
from knowledge.models import Document
from tenants.services import create_tenant
from tests.site import add_tree

RUN, PAGE = "crawl.crawl_website_task", "crawl.process_page_content"


@pytest.fixture
def website(tenant, site):
    add_tree(site, 12)
    return services.add_website(tenant=tenant, url=site.url)


def expire(rows):
    long_ago = timezone.now() - timedelta(hours=1)
    rows.update(lease_until=long_ago, send_at=long_ago)


def names(sent):
    return [name for name, _kwargs in sent]


def test_start_crawl_sends_the_run_once(website, sent):
    run = services.start_crawl(website=website)

    assert sent == [(RUN, {"run_id": str(run.pk), "ticket": 0})]


def test_an_emptied_broker_has_a_run_sent_at_once_and_its_pause_begins_anew(website, sent, redis_client):
    run = services.start_crawl(website=website)
    CrawlRun.objects.update(sends=4, send_at=timezone.now() + timedelta(minutes=3))
    redis_client.flushdb()
    sent.clear()
    sweep()

    run.refresh_from_db()
    assert names(sent) == [RUN]
    assert run.send_at < timezone.now() + timedelta(seconds=sending.RESEND_SECONDS + 1)


def test_start_crawl_enqueues_after_the_commit(website, monkeypatch, django_capture_on_commit_callbacks):
    published = []
    monkeypatch.setattr(current_app, "send_task", lambda name, **options: published.append((name, options)))
    with django_capture_on_commit_callbacks(execute=True):
        services.start_crawl(website=website)
        assert published == []

    ((name, options),) = published
    assert name == RUN
    assert options["headers"] == {"tenant_id": str(website.tenant_id)}


def test_start_crawl_refuses_a_second_active_run(website, sent):
    services.start_crawl(website=website)

    with pytest.raises(CrawlAlreadyActiveError):
        services.start_crawl(website=website)


def test_a_website_is_known_by_its_canonical_root(website, tenant, site):
    again = services.add_website(tenant=tenant, url=site.url.upper() + "/?utm_source=x#top", max_pages=7)

    assert (again.pk, again.max_pages) == (website.pk, 7)


@pytest.mark.parametrize(
    "options",
    [
        {"url": "http://10.0.0.1/"},
        {"url": "ftp://example.com/"},
        {"url": ""},
        {"url": "https://example.com/", "max_pages": 0},
        {"url": "https://example.com/", "max_pages": 10**9},
        {"url": "https://example.com/", "include": ["docs"]},
    ],
)
def test_a_website_that_cannot_be_crawled_is_refused(tenant, options):
    with pytest.raises(WebsiteInvalidError):
        services.add_website(tenant=tenant, **options)


def test_of_two_deliveries_of_a_message_one_wins(website, sent):
    run = services.start_crawl(website=website)

    assert CrawlRun.objects.claim(run.pk, ticket=0) is not None
    assert CrawlRun.objects.claim(run.pk, ticket=0) is None
    CrawlRun.objects.update(lease_until=None)
    assert CrawlRun.objects.claim(run.pk, ticket=0) is None  # a copy that arrives late does not start a second chain


def test_a_run_whose_worker_died_is_sent_again_when_its_lease_ends(website, sent, work):
    run = services.start_crawl(website=website)
    CrawlRun.objects.claim(run.pk, ticket=0)
    sent.clear()
    assert sweep() == 0

    expire(CrawlRun.objects)
    assert sweep() == 1
    assert sent == [(RUN, {"run_id": str(run.pk), "ticket": 1})]
    work()
    run.refresh_from_db()
    assert Page.objects.filter(state="done").count() == 12


def test_a_slice_that_lost_its_lease_writes_nothing(website, sent):
    run = services.start_crawl(website=website)
    zombie = CrawlRun.objects.claim(run.pk)
    expire(CrawlRun.objects)
    heir = CrawlRun.objects.claim(run.pk)

    assert not zombie.record(stage="pages")
    finishing.finish(zombie, error="zombie")
    heir.refresh_from_db()
    assert (heir.state, heir.stage, heir.error) == ("running", "robots", "")


def test_a_run_that_stops_its_workers_again_and_again_is_given_up(website, sent):
    run = services.start_crawl(website=website)
    for _death in range(CLAIMS_MAX + 1):
        assert CrawlRun.objects.claim(run.pk) is not None
        expire(CrawlRun.objects)
        sweep()

    run.refresh_from_db()
    assert run.state == "failed"
    assert "given up" in run.error


def test_a_page_whose_request_kills_the_worker_is_closed_and_the_crawl_goes_on(website, sent, work, monkeypatch):
    class WorkerDiedError(BaseException):
        pass

    ask_all = slices.fetching.ask_all

    def deadly(turn, requests, **options):
        if any(request.url.endswith("/product/1/") for request in requests):
            raise WorkerDiedError
        return ask_all(turn, requests, **options)

    monkeypatch.setattr(slices.fetching, "ask_all", deadly)
    run = services.start_crawl(website=website)
    for _death in range(3):
        with pytest.raises(WorkerDiedError):
            work()
        expire(CrawlRun.objects)
        sweep()
    work()
    for _round in range(3):
        CrawlRun.objects.active().update(send_at=timezone.now() - timedelta(hours=1))
        sweep()
        work()

    run.refresh_from_db()
    assert run.state == "done"
    assert Page.objects.get(url__endswith="/product/1/").reason == "crashed"
    assert Document.objects.count() == 11


@pytest.fixture
def fetched(website, sent, work, monkeypatch):
    """A run whose pages are fetched, and left to others to process."""
    with monkeypatch.context() as patch:
        patch.setattr(slices, "_process_pages", lambda *_args: False)
        run = services.start_crawl(website=website)
        work(at_most=1)
    return run


def test_a_page_whose_processing_was_lost_is_sent_again_and_closed_after_three_deaths(fetched, sent):
    page = fetched.pages.filter(state="fetched").first()
    for _death in range(CLAIMS_MAX):
        assert Page.objects.claim(page.pk) is not None
        assert Page.objects.claim(page.pk) is None
        expire(Page.objects.filter(pk=page.pk))
        sent.clear()
        sweep()

    page.refresh_from_db()
    assert (page.state, page.reason) == ("failed", "crashed")


@pytest.mark.parametrize("step", ["read", "_close_or_store"])
def test_a_bug_in_a_page_closes_the_page_alone(fetched, step, monkeypatch):
    ids = list(fetched.pages.filter(state="fetched").order_by("pk").values_list("pk", flat=True))[:3]
    right = getattr(processing, step)

    def broken(*args):
        if any(getattr(arg, "pk", None) == ids[1] for arg in args):
            raise ZeroDivisionError
        return right(*args)

    monkeypatch.setattr(processing, step, broken)
    with pytest.raises(ZeroDivisionError):
        current_app.tasks[PAGE](page_ids=ids)

    fetched.refresh_from_db()
    states = dict(Page.objects.filter(pk__in=ids).values_list("pk", "state"))
    assert [states[page_id] for page_id in ids] == ["done", "failed", "done"]
    assert Page.objects.get(pk=ids[1]).reason == "unreadable"
    assert fetched.state == "running"


def test_of_two_workers_asked_to_help_with_a_page_one_does(fetched, sent):
    (ids, more) = [kwargs["page_ids"] for name, kwargs in sent if name == PAGE]
    assert current_app.tasks[PAGE](page_ids=ids)
    assert not current_app.tasks[PAGE](page_ids=ids)
    assert current_app.tasks[PAGE](page_ids=[ids[-1], *more])

    assert Page.objects.filter(state="done").count() == Document.objects.count() == 12


def test_pages_that_a_worker_died_of_are_processed_one_by_one(fetched, sent):
    (ids, more) = [kwargs["page_ids"] for name, kwargs in sent if name == PAGE]
    assert len(Page.objects.filter(pk__in=ids).claim_batch(8)) == len(ids) == 8
    expire(Page.objects.filter(pk__in=[*ids, *more]))
    sent.clear()
    sweep()

    assert sorted(len(kwargs["page_ids"]) for _name, kwargs in sent) == [1] * 8 + [4]


def test_what_a_turn_does_not_reach_stays_for_the_next(fetched, sent, monkeypatch):
    (ids, _more) = [kwargs["page_ids"] for name, kwargs in sent if name == PAGE]
    monkeypatch.setattr(turns.Turn, "is_over", lambda _self: True)
    assert current_app.tasks[PAGE](page_ids=ids)

    assert (
        list(Page.objects.filter(pk__in=ids).order_by("pk").values_list("state", "attempts", "lease_token"))
        == [("done", 1, None)] + [("fetched", 0, None)] * 7
    )


def test_a_bug_in_a_slice_closes_the_run(website, sent, work, monkeypatch):
    def broken(*_args):
        raise ZeroDivisionError

    run = services.start_crawl(website=website)
    monkeypatch.setattr(frontier, "seed", broken)

    with pytest.raises(ZeroDivisionError):
        work()

    run.refresh_from_db()
    assert (run.state, run.error) == ("failed", "The crawl met an internal error.")


def test_a_slice_that_runs_out_of_time_is_tried_again(website, sent, work, monkeypatch):
    def too_slow(*_args):
        raise SoftTimeLimitExceeded

    run = services.start_crawl(website=website)
    monkeypatch.setattr(frontier, "seed", too_slow)
    with pytest.raises(SoftTimeLimitExceeded):
        work()

    expire(CrawlRun.objects)
    assert sweep() == 1
    run.refresh_from_db()
    assert run.state == "running"


def test_a_run_waits_for_the_pages_that_others_process_and_is_woken_by_them(fetched, sent, work):
    fetched.refresh_from_db()
    assert names(sent) == [PAGE] * 2
    assert fetched.is_waiting
    work(at_most=1)
    assert names(sent) == [PAGE, RUN]


def test_a_slice_that_nobody_waits_for_does_the_pages_itself_and_asks_for_help(website, sent, work):
    run = services.start_crawl(website=website)
    work(at_most=1)

    run.refresh_from_db()
    assert run.state == "done"
    assert [len(kwargs["page_ids"]) for name, kwargs in sent if name == PAGE] == [8, 4]


def test_while_others_wait_a_run_has_one_message_in_line_and_takes_short_turns(website, sent, work, monkeypatch):
    monkeypatch.setattr(turns, "others_wait", lambda _level: True)
    monkeypatch.setattr(turns, "SHARED_SECONDS", 0)
    monkeypatch.setattr(slices, "FIRST_TURN_SECONDS", 0)
    run = services.start_crawl(website=website)
    turn_count = 0
    while not run.is_finished:
        assert names(sent) == [RUN]
        work(at_most=1)
        run.refresh_from_db()
        turn_count += 1

    assert Document.objects.count() == 12
    assert turn_count > 4


def test_a_slice_ends_after_its_time_and_sends_the_next(website, sent, work, settings):
    settings.CRAWL_SLICE_SECONDS = 0.0001
    run = services.start_crawl(website=website)
    work(at_most=1)

    assert sent == [(RUN, {"run_id": str(run.pk), "ticket": 1})]


def test_a_tenant_has_its_share_and_the_others_do_not_wait_for_it(tenant, site, sent, settings):
    settings.CRAWL_RUNS_PER_TENANT = 2
    runs = [
        services.start_crawl(website=services.add_website(tenant=tenant, url=f"{site.url}/{number}/"))
        for number in range(4)
    ]
    other = create_tenant(slug="other")
    services.start_crawl(website=services.add_website(tenant=other, url=site.url))
    assert len(sent) == 3

    sent.clear()
    services.cancel_crawl(run=runs[0])
    assert [kwargs["run_id"] for _name, kwargs in sent] == [str(runs[2].pk)]

    CrawlRun.objects.filter(pk=runs[1].pk).update(state="done", send_at=None)  # ended with its message lost
    sent.clear()
    sweep()
    assert [kwargs["run_id"] for _name, kwargs in sent] == [str(runs[3].pk)]


def test_a_cancelled_crawl_stops_and_keeps_what_was_read(website, sent, work, settings):
    settings.CRAWL_SLICE_SECONDS = 0
    run = services.start_crawl(website=website)
    while not Document.objects.exists():
        work(at_most=1)
    kept = Document.objects.count()

    assert services.cancel_crawl(run=run)
    assert not services.cancel_crawl(run=run)
    work()

    run.refresh_from_db()
    assert (run.state, run.is_cancelled, run.error) == ("failed", True, "The crawl was stopped.")
    assert Document.objects.count() == kept < 12
    assert set(Page.objects.exclude(state="done").values_list("reason", flat=True)) == {"cancelled"}
    services.start_crawl(website=website)


def test_a_broker_that_is_away_does_not_fail_the_caller(website, monkeypatch, django_capture_on_commit_callbacks):
    from kombu.exceptions import OperationalError

    def refuse(*_args, **_options):
        raise OperationalError

    monkeypatch.setattr(current_app, "send_task", refuse)
    with django_capture_on_commit_callbacks(execute=True):
        run = services.start_crawl(website=website)

    run.refresh_from_db()
    assert run.send_at > timezone.now()


@pytest.mark.parametrize("name", [RUN, PAGE])
def test_a_slice_and_a_page_have_time_to_end_before_they_are_cut_off(name):
    current_app.loader.import_module("crawl.tasks")
    task = current_app.tasks[name]

    assert task.soft_time_limit < task.time_limit
    assert task.soft_time_limit > django_settings.CRAWL_SLICE_SECONDS + django_settings.OUTBOUND_TOTAL_TIMEOUT_SECONDS
