"""Websites, crawls and pages over HTTP."""

import base64
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest
from django.db import connection
from django.utils import timezone

from core.states import State
from crawl import processing, removing, services
from crawl.models import CrawlRun, Page, Website
from knowledge.models import Chunk, Document
from knowledge.services import store_page
from tenants.services import create_api_key, create_tenant
from tests.api_client import ApiClient, ids, pointers
from tests.sessions import in_own_session
from tests.workers import wait_until

pytestmark = pytest.mark.django_db
URL = "https://acme.example/docs/"


@pytest.fixture
def caller(tenant):
    return ApiClient(create_api_key(tenant=tenant, name="server")[1])


@pytest.fixture
def website(tenant):
    return services.add_website(tenant=tenant, url=URL)


def add_page(website, path, state=Page.State.DONE, *, stored=True, **values):
    url = f"{website.root_url}{path}"
    document = (
        store_page(
            tenant=website.tenant, url=url, title=path, language="en", content="Text.", fetched_at=timezone.now()
        )
        if stored
        else None
    )
    return Page.objects.create(
        tenant=website.tenant, website=website, url=url, state=state, document=document, **values
    )


def test_a_website_is_added_once_and_told_apart_from_a_new_one(caller, tenant):
    first = caller.post("websites", {"url": "acme.example/docs/", "include": ["/docs/*"], "max_pages": 7})
    again = caller.post("websites", {"url": "HTTPS://ACME.example:443/docs/", "name": "Docs"})

    assert (first.status_code, again.status_code) == (201, 200)
    assert first.headers["Location"] == f"http://testserver/api/v1/websites/{first.json()['id']}"
    assert again.json() == first.json() | {"name": "Docs"}
    assert (again.json()["url"], again.json()["include"], again.json()["max_pages"]) == (URL, ["/docs/*"], 7)
    assert Website.objects.get().tenant == tenant


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({}, 400, "/url"),
        ({"url": ""}, 400, "/url"),
        ({"url": None}, 400, "/url"),
        ({"url": "ftp://acme.example"}, 422, "/url"),
        ({"url": "http://localhost/"}, 422, "/url"),
        ({"url": "http://10.0.0.1/"}, 422, "/url"),
        ({"url": "https://acme.example/" + "x" * 2000}, 400, "/url"),
        ({"url": URL, "include": "docs"}, 400, "/include"),
        ({"url": URL, "include": ["docs/*"]}, 422, "/include"),
        ({"url": URL, "exclude": ["/x", "docs"]}, 422, "/exclude"),
        ({"url": URL, "exclude": ["/x"] * 51}, 400, "/exclude"),
        ({"url": URL, "exclude": ["/" + "x" * 500]}, 400, "/exclude/0"),
        ({"url": URL, "max_pages": 0}, 400, "/max_pages"),
        ({"url": URL, "max_pages": 10**9}, 422, "/max_pages"),
        ({"url": URL, "max_pages": "all"}, 400, "/max_pages"),
        ({"url": URL, "max_depth": 101}, 400, "/max_depth"),
        ({"url": URL, "name": "x" * 201}, 400, "/name"),
        ({"url": URL, "name": "\u0000"}, 400, "/name"),
    ],
)
def test_a_website_that_cannot_be_names_the_field(caller, body, status, field):
    response = caller.post("websites", body)

    assert (response.status_code, pointers(response)) == (status, [field])
    assert not Website.objects.exists()


def test_a_website_is_changed_and_patterns_can_be_taken_away(caller, website):
    path = f"websites/{website.pk}"
    caller.patch(path, {"include": ["/docs/fa/*"], "exclude": ["*/old/*"], "max_depth": 3, "name": "راهنما"})

    body = caller.patch(path, {"include": []}).json()

    assert (body["include"], body["exclude"], body["max_depth"], body["name"]) == ([], ["*/old/*"], 3, "راهنما")
    assert caller.get(path).json() == body | {"outcomes": []}


def test_selectors_and_the_clock_are_set_and_taken_away(caller, website):
    path = f"websites/{website.pk}"
    body = caller.patch(path, {"content": ["article"], "leave_out": [".ad", "#x > p"], "crawl_every_hours": 24}).json()
    assert (body["content"], body["leave_out"], body["crawl_every_hours"]) == (["article"], [".ad", "#x > p"], 24)
    assert body["next_crawl_at"]

    body = caller.patch(path, {"content": [], "crawl_every_hours": None}).json()

    assert (body["content"], body["crawl_every_hours"], body["next_crawl_at"]) == ([], None, None)


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"content": ["p::before"]}, 422, "/content"),
        ({"leave_out": ["div >"]}, 422, "/leave_out"),
        ({"leave_out": ["a" * 201]}, 400, "/leave_out/0"),
        ({"content": ["p"] * 21}, 400, "/content"),
        ({"crawl_every_hours": 0}, 400, "/crawl_every_hours"),
    ],
)
def test_a_selector_or_clock_that_cannot_be_names_the_field(caller, website, body, status, field):
    response = caller.patch(f"websites/{website.pk}", body)

    assert (response.status_code, pointers(response)) == (status, [field])


def test_pages_are_read_anew_when_what_is_content_changes(caller, website):
    add_page(website, "a", etag='"1"', body_hash="x")

    caller.patch(f"websites/{website.pk}", {"max_pages": 5})
    assert Page.objects.get().etag == '"1"'
    caller.patch(f"websites/{website.pk}", {"content": ["main"]})

    page = Page.objects.get()
    assert (page.etag, page.body_hash) == ("", "")


def test_what_became_of_the_pages_is_counted_and_told_in_both_languages(caller, website):
    add_page(website, "a")
    for path in ("b", "c"):
        add_page(website, path, Page.State.SKIPPED, stored=False, reason=Page.Reason.NEEDS_JAVASCRIPT)

    body = caller.get(f"websites/{website.pk}").json()
    persian = caller.client.get(f"/api/v1/websites/{website.pk}/pages", headers={"Accept-Language": "fa"}).json()

    assert body["outcomes"] == [
        {"state": "skipped", "reason": "needs_javascript", "text": "shows its text with JavaScript only", "count": 2},
        {"state": "done", "reason": "", "text": "", "count": 1},
    ]
    assert persian["data"][0]["reason_text"] == "متن خود را فقط با جاوااسکریپت نشان می‌دهد"


def test_the_address_of_a_website_does_not_change(caller, website):
    caller.patch(f"websites/{website.pk}", {"url": "https://other.example/"})

    assert Website.objects.get().root_url == URL


def test_a_change_obeys_the_same_rules(caller, website):
    response = caller.patch(f"websites/{website.pk}", {"name": "New", "include": ["no"]})

    assert (response.status_code, pointers(response)) == (422, ["/include"])
    assert Website.objects.get().name == ""


def test_deleting_a_website_takes_its_crawl_pages_and_documents_but_not_the_others(caller, tenant, website, sent):
    run = services.start_crawl(website=website)
    add_page(website, "a", run=run)
    add_page(website, "b", Page.State.QUEUED, stored=False, run=run)
    shared = add_page(website, "c").document
    other = services.add_website(tenant=tenant, url="https://acme.example/")
    Page.objects.create(tenant=tenant, website=other, url=shared.url, state=Page.State.DONE, document=shared)
    stranger = services.add_website(tenant=create_tenant(slug="other"), url=URL)
    add_page(stranger, "a")

    assert caller.delete(f"websites/{website.pk}").status_code == 204

    assert caller.get(f"websites/{website.pk}").status_code == 404
    assert set(Website.objects.all()) == {other, stranger}
    assert not CrawlRun.objects.exists()
    assert list(Document.objects.for_tenant(tenant)) == [shared]
    assert Document.objects.for_tenant(stranger.tenant).count() == 1
    assert set(Chunk.objects.values_list("document__url", flat=True)) == {shared.url, f"{URL}a"}


@pytest.mark.django_db(transaction=True)
def test_a_page_that_is_being_stored_while_its_website_goes_leaves_no_document(website, sent, monkeypatch):
    page = add_page(website, "a", Page.State.FETCHED, stored=False, run=services.start_crawl(website=website))
    is_storing = Event()

    def store_once_the_removal_waits(**values):
        is_storing.set()
        wait_until(lambda: waiting_for_locks() > 0)
        return store_page(**values)

    monkeypatch.setattr(processing.knowledge, "store_page", store_once_the_removal_waits)
    reading = processing.Reading("Title", "en", "Text of a page.")
    with ThreadPoolExecutor(1) as worker:
        stored = worker.submit(in_own_session(processing._save), page, reading)
        assert is_storing.wait(20)
        removing.remove(website)  # as when a crawl began after the one before was stopped
        stored.result()

    assert not Website.objects.exists()
    assert not Document.objects.exists()


def waiting_for_locks():
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return cursor.fetchone()[0]


def test_a_crawl_is_started_once(caller, website, sent):
    response = caller.post(f"websites/{website.pk}/crawls")
    second = caller.post(f"websites/{website.pk}/crawls")

    body = response.json()
    assert (response.status_code, body["state"], body["website_id"]) == (202, "queued", str(website.pk))
    assert response.headers["Location"] == f"http://testserver/api/v1/crawls/{body['id']}"
    assert [name for name, _arguments in sent] == ["crawl.crawl_website_task"]
    assert (second.status_code, second.json()["code"]) == (409, "crawl_already_active")


def test_a_crawl_sent_twice_with_one_key_starts_once(caller, website, sent):
    path = f"websites/{website.pk}/crawls"
    answers = [caller.post(path, **{"Idempotency-Key": "one"}) for _turn in range(2)]

    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[0].json() == answers[1].json()
    assert answers[0].headers["Location"] == answers[1].headers["Location"]


def test_a_crawl_shows_its_progress_and_is_cancelled(caller, website, sent):
    run = services.start_crawl(website=website)
    add_page(website, "a", run=run)
    add_page(website, "b", Page.State.QUEUED, stored=False, run=run)

    before = caller.get(f"crawls/{run.pk}").json()
    stopped = caller.post(f"crawls/{run.pk}/cancel")
    again = caller.post(f"crawls/{run.pk}/cancel")

    assert (before["state"], before["progress"]["total"], before["progress"]["finished"]) == ("queued", 2, 1)
    assert before["progress"]["counts"]["queued"] == 1
    assert (stopped.status_code, stopped.json()["is_cancelled"], stopped.json()["state"]) == (200, True, "failed")
    assert stopped.json()["progress"]["reasons"] == {"cancelled": 1}
    assert again.json() == stopped.json()
    assert caller.post(f"websites/{website.pk}/crawls").status_code == 202  # free for another


def test_crawls_are_listed_for_their_website(caller, tenant, website, sent):
    old = services.start_crawl(website=website)
    services.cancel_crawl(run=old)
    new = services.start_crawl(website=website)
    services.start_crawl(website=services.add_website(tenant=tenant, url="https://acme.example/blog/"))

    path = f"websites/{website.pk}/crawls"
    assert ids(caller.get(path)) == [str(new.pk), str(old.pk)]
    assert ids(caller.get(path, state="failed")) == [str(old.pk)]
    assert pointers(caller.get(path, state="dead")) == ["/state"]


def test_pages_are_listed_with_state_and_reason(caller, website):
    kept = add_page(website, "a", http_status=200)
    add_page(
        website, "b", Page.State.SKIPPED, stored=False, reason=Page.Reason.DUPLICATE, detail=kept.url, duplicate_of=kept
    )
    add_page(website, "c", Page.State.FAILED, stored=False, reason=Page.Reason.NOT_FOUND, http_status=404)
    path = f"websites/{website.pk}/pages"

    rows = {row["url"][-1]: row for row in caller.get(path).json()["data"]}

    assert (rows["a"]["state"], rows["a"]["document_id"]) == ("done", str(kept.document_id))
    assert (rows["b"]["reason"], rows["b"]["duplicate_of"]) == ("duplicate", kept.url)
    assert (rows["c"]["state"], rows["c"]["http_status"]) == ("failed", 404)
    assert [row["url"][-1] for row in caller.get(path, state="skipped").json()["data"]] == ["b"]
    assert [row["url"][-1] for row in caller.get(path, reason="not_found").json()["data"]] == ["c"]
    assert caller.get(path, state="done", reason="not_found").json()["data"] == []
    assert pointers(caller.get(path, state="x", reason="y")) == ["/state", "/reason"]


def test_pages_of_a_list_neither_skip_nor_repeat(caller, website):
    pages = [add_page(website, str(number), Page.State.QUEUED, stored=False) for number in range(5)]
    Page.objects.update(created_at=timezone.now())  # one moment for all
    path = f"websites/{website.pk}/pages"

    first = caller.get(path, limit=3).json()
    second = caller.get(path, limit=3, starting_after=first["next_cursor"]).json()

    assert [row["id"] for row in first["data"] + second["data"]] == [page.pk for page in reversed(pages)]


@pytest.mark.parametrize(
    "cursor",
    [
        "!",
        "\0",
        "x" * 5000,
        '["2026-01-01T00:00:00+00:00", 1e999]',
        '["2026-01-01T00:00:00+00:00", [1]]',
        '["2026-01-01T00:00:00+00:00", null]',
        '["0001-01-01T00:00:00+14:00", "1"]',
        '["9999-12-31T23:59:59-14:00", "1"]',
        '[{}, "1"]',
        "[" * 2000,
    ],
)
def test_a_cursor_that_no_page_gave_is_refused(caller, website, cursor):
    text = base64.urlsafe_b64encode(cursor.encode()).decode().rstrip("=") if cursor.startswith("[") else cursor

    response = caller.get(f"websites/{website.pk}/pages", starting_after=text)

    assert (response.status_code, response.json()["code"]) == (400, "cursor_invalid")


def test_the_lists_take_the_same_queries_however_long_they_are(
    caller, tenant, website, sent, django_assert_num_queries
):
    for number in range(10):
        add_page(website, str(number), Page.State.SKIPPED, stored=False)
        services.add_website(tenant=tenant, url=f"https://acme.example/{number}/")
    services.cancel_crawl(run=services.start_crawl(website=website))
    services.start_crawl(website=website)

    with django_assert_num_queries(2):  # the key with its tenant; the websites
        caller.get("websites")
    for noun in ("crawls", "pages"):
        with django_assert_num_queries(3):  # the key with its tenant; the website; its rows
            caller.get(f"websites/{website.pk}/{noun}")


def test_the_list_holds_the_tenants_own_websites(caller, website):
    services.add_website(tenant=create_tenant(slug="other"), url=URL)

    assert ids(caller.get("websites")) == [str(website.pk)]


def test_another_tenants_website_is_404_before_the_body_is_read(caller):
    theirs = services.add_website(tenant=create_tenant(slug="other"), url=URL)

    assert caller.patch(f"websites/{theirs.pk}", b"{ no json").status_code == 404
    assert caller.post(f"websites/{theirs.pk}/crawls", b"{ no json").status_code == 404
    assert not CrawlRun.objects.filter(state=State.QUEUED).exists()
