"""Another version of the knowledge beside the live one: prepared, switched to, and back."""

import json
import time
from dataclasses import replace
from datetime import timedelta
from io import StringIO
from types import SimpleNamespace

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from chat import query_cache
from core import batches
from core.states import State
from crawl import cleaning, services, versions
from crawl.errors import VersionExistsError, VersionMissingError, VersionNotReadyError
from crawl.models import CrawlRun, Page, Website
from knowledge import tasks, version
from knowledge.models import Chunk, Document, SearchModel, SyncItem, VersionCopy
from knowledge.search import search
from knowledge.services import start_full_sync, store_page
from tenants.models import Tenant
from tenants.services import create_api_key
from tests.api_client import ApiClient

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("silent")]

PRICE = "What does the lamp cost?"


@pytest.fixture
def prepare(shop, site, work, tenant):
    """Change the site, and have its next version prepared to the end."""

    def prepare(**options):
        site.add_page("/price", '<p>The lamp costs 25 euros in the shop.</p><a href="/new">New</a>')
        site.add_page("/new", "<p>A new lamp is sold from now on.</p>")
        site.routes.pop("/hours", None)
        holder = versions.prepare(tenant, **{"recrawl": True} | options)
        copy(holder)
        work()
        SyncItem.objects.update(state=State.DONE)
        return holder

    return prepare


def copy(holder):
    """Have what the version begins with copied, as a worker does."""
    tasks.copy_version_task(copy_id=str(VersionCopy.objects.get(tenant=holder).pk))


def told(tenant, question=PRICE):
    return search(tenant=tenant, query=question)[0].content


def urls(tenant):
    return sorted(url.rpartition("/")[2] for url in Document.objects.for_tenant(tenant).values_list("url", flat=True))


def test_the_next_version_is_read_beside_the_live_one_and_changes_nothing_of_it(prepare, tenant):
    before = version.current(tenant)
    holder = prepare()

    assert (urls(tenant), urls(holder)) == (["", "hours", "price"], ["", "new", "price"])
    assert "20 euros" in told(tenant)
    assert "25 euros" in told(holder)
    assert version.current(tenant) == before, "kept answers stay"
    assert [status.version for status in versions.statuses(tenant)] == ["live", "next"]
    assert versions.statuses(tenant)[1].is_ready


def test_the_switch_is_one_action_and_so_is_the_way_back(prepare, tenant, shop):
    prepare()
    before = query_cache.slot(tenant=tenant, question=PRICE, model="")

    versions.switch(tenant)
    assert (urls(tenant), "25 euros" in told(tenant)) == (["", "new", "price"], True)
    assert query_cache.slot(tenant=tenant, question=PRICE, model="") != before, "what was answered before is not found"
    assert [status.version for status in versions.statuses(tenant)] == ["live", "previous"]

    versions.roll_back(tenant)
    assert (urls(tenant), "20 euros" in told(tenant)) == (["", "hours", "price"], True)
    assert [status.version for status in versions.statuses(tenant)] == ["live", "next"]

    versions.switch(tenant)
    assert "25 euros" in told(tenant)
    assert list(Website.objects.for_tenant(tenant)) == [shop], "its id is still the one that the customer knows"


def test_pages_know_their_documents_of_the_live_version_and_are_read_whole_by_the_next_crawl(
    prepare, tenant, shop, work, site
):
    prepare()
    versions.switch(tenant)

    pages = {page.url.rpartition("/")[2]: page for page in Page.objects.filter(website=shop)}
    assert {path for path, page in pages.items() if page.document_id} == {"", "new", "price"}
    assert {page.tenant_id for page in pages.values()} == {tenant.pk}
    site.requests.clear()
    run = services.start_crawl(website=shop)
    work()
    run.refresh_from_db()
    assert run.state == State.DONE
    assert not any("if-none-match" in headers for _method, _path, headers in site.requests)
    assert urls(tenant) == ["", "new", "price"]


def test_a_change_of_the_model_copies_the_texts_and_queues_the_vectors_that_are_missing(shop, tenant, monkeypatch):
    SearchModel.objects.update_or_create(tenant=tenant, defaults={"model": "old/1"})
    Chunk.objects.for_tenant(tenant).update(embedding=[1.0, 0.0], embedding_model="old/1")
    SyncItem.objects.update(state=State.DONE)
    monkeypatch.setattr("knowledge.embeddings.model_id", lambda: "new/1")

    holder = versions.prepare(tenant, recrawl=False)
    copy(holder)

    live, coming = versions.statuses(tenant)
    assert urls(holder) == urls(tenant)
    assert (live.model, coming.model) == ("old/1", "new/1")
    assert (coming.waiting, coming.is_ready, coming.crawls) == (3, False, 0)
    with pytest.raises(VersionNotReadyError):
        versions.switch(tenant)
    assert live.chunks == coming.chunks
    assert Chunk.objects.for_tenant(holder).filter(search_vector=None).count() == 0


def test_vectors_of_the_same_model_are_copied(shop, tenant, monkeypatch):
    monkeypatch.setattr("knowledge.embeddings.model_id", lambda: "same/1")
    Chunk.objects.for_tenant(tenant).update(embedding=[1.0, 0.0], embedding_model="same/1")

    holder = versions.prepare(tenant, recrawl=False)
    copy(holder)

    assert Chunk.objects.for_tenant(holder).filter(embedding_model="same/1", embedding__isnull=False).count() == 3
    assert versions.statuses(tenant)[1].is_ready


def test_documents_of_no_website_are_part_of_every_version(prepare, tenant):
    store_page(tenant=tenant, url="upload:a", title="A", language="en", content="By hand.", fetched_at=timezone.now())
    holder = prepare()
    assert "upload:a" in urls(holder)
    versions.switch(tenant)

    assert "upload:a" in urls(tenant)


def test_only_one_next_version_and_none_to_go_back_to_that_is_not_there(prepare, tenant):
    with pytest.raises(VersionMissingError):
        versions.switch(tenant)
    with pytest.raises(VersionMissingError):
        versions.roll_back(tenant)
    prepare()
    with pytest.raises(VersionExistsError):
        versions.prepare(tenant, recrawl=True)
    versions.switch(tenant)
    versions.prepare(tenant, recrawl=False)
    with pytest.raises(VersionExistsError):
        versions.roll_back(tenant)


def test_a_dropped_version_leaves_nothing(prepare, tenant):
    versions.drop(prepare())
    assert urls(tenant) == ["", "hours", "price"]
    with pytest.raises(VersionMissingError):
        versions.switch(tenant)

    batches.run(cleaning.CACHE)

    assert Tenant.objects.count() == 1
    assert urls(tenant) == ["", "hours", "price"]
    assert {row.tenant_id for model in (Document, Chunk, Page, CrawlRun) for row in model.objects.all()} == {tenant.pk}


def test_the_previous_version_is_kept_for_its_days(prepare, tenant, settings):
    prepare()
    versions.switch(tenant)
    assert batches.run(cleaning.CACHE)["previous_versions"] == 0

    long_ago = timezone.now() - timedelta(days=settings.KNOWLEDGE_KEEP_VERSION_DAYS, minutes=1)
    Tenant.objects.filter(version="previous").update(version_since=long_ago)
    counts = batches.run(cleaning.CACHE)
    assert (counts["previous_versions"], counts["dropped_documents"], counts["dropped_chunks"]) == (1, 3, 3)
    assert urls(tenant) == ["", "new", "price"]
    assert [status.version for status in versions.statuses(tenant)] == ["live"]


def test_version_after_version_takes_over_and_the_customer_can_be_deleted(prepare, tenant, site, shop, work):
    for price in ("25", "30", "35"):
        prepare()
        site.add_page("/price", f"<p>The lamp costs {price} euros in the shop.</p>")
        services.start_crawl(website=shop)
        versions.switch(tenant)
        work()
        assert f"{price} euros" in told(tenant), "crawls go on in the live version"
        batches.run(cleaning.CACHE)
        assert [status.version for status in versions.statuses(tenant)] == ["live", "previous"]
        assert Tenant.objects.count() <= 3

    tenant.delete()
    assert (Tenant.objects.count(), Document.objects.count()) == (0, 0)


def test_a_page_is_stored_in_the_version_that_is_live_now_whatever_the_worker_read_before(prepare, tenant):
    read_before = Tenant.objects.get(pk=tenant.pk)
    prepare()
    versions.switch(tenant)

    page = {"title": "", "language": "en", "content": "Late.", "fetched_at": timezone.now()}
    store_page(tenant=read_before, url="https://acme.example/late", **page)

    assert "late" in urls(tenant)


def test_vectors_and_full_syncs_of_a_version_are_the_customers_tasks(prepare, tenant, monkeypatch):
    prepare()
    versions.switch(tenant)
    owners = []
    monkeypatch.setattr("core.enqueue.publish", lambda *_args, tenant_id, **_options: owners.append(tenant_id) or True)
    SyncItem.objects.update(state=State.QUEUED, sent_at=None)

    tasks.send_due()
    run = start_full_sync(tenant=tenant)
    tasks.send_full_syncs()

    assert run.tenant_id == tenant.knowledge_id != tenant.pk
    assert set(owners) == {tenant.pk}


def test_over_http_and_on_the_command_line(prepare, tenant):
    caller = ApiClient(create_api_key(tenant=tenant, name="server")[1])
    prepare()
    assert [row["version"] for row in caller.get("knowledge-versions").json()["versions"]] == ["live", "next"]
    assert caller.post("knowledge-versions").json()["code"] == "version_exists"
    assert caller.post("knowledge-versions/switch").status_code == 200
    assert caller.post("knowledge-versions/rollback").status_code == 200
    assert caller.delete("knowledge-versions").status_code == 204
    assert caller.post("knowledge-versions/switch").json()["code"] == "version_missing"
    assert caller.post("knowledge-versions", {"recrawl": False}).status_code == 202

    out = StringIO()
    call_command("versions", "status", "--tenant", "acme", "--json", stdout=out)
    assert [row["version"] for row in json.loads(out.getvalue())["versions"]] == ["live", "next"]
    with pytest.raises(CommandError, match="There is no tenant"):
        call_command("versions", "status", "--tenant", "acme--next", stdout=out)


def test_the_command_follows_what_the_workers_do_until_it_is_ready(shop, tenant, monkeypatch):
    def a_moment_later(_seconds):
        copy(tenant.find_version(versions.NEXT))
        SyncItem.objects.update(state=State.DONE)

    clock = SimpleNamespace(sleep=a_moment_later, monotonic=time.monotonic)
    monkeypatch.setattr("crawl.management.commands.versions.time", clock)
    monkeypatch.setattr("crawl.management.commands.versions.LINE_SECONDS", 0)
    out, err = StringIO(), StringIO()
    call_command("versions", "prepare", "--copy", "--wait", "--tenant", "acme", stdout=out, stderr=err)

    assert "still to come: 3 documents to be copied" in err.getvalue()
    assert "next: 3 documents" in out.getvalue()
    assert "still to come" not in out.getvalue()


def test_until_all_is_copied_the_switch_says_what_is_still_to_come_and_after_a_failure_what_to_do(shop, tenant):
    holder = versions.prepare(tenant, recrawl=False)
    with pytest.raises(VersionNotReadyError, match="not ready: 3 documents to be copied"):
        versions.switch(tenant)

    VersionCopy.objects.update(state=State.FAILED, error="The disk is full.")
    with pytest.raises(VersionNotReadyError, match=r"drop it\. The disk is full\."):
        versions.switch(tenant)
    versions.drop(holder)
    assert not VersionCopy.objects.exists()


@pytest.mark.parametrize(("documents", "waiting", "is_ready"), [(99, 1, False), (200, 2, True), (200, 3, False)])
def test_a_few_documents_of_a_large_version_may_lack_vectors_since_crawls_of_the_live_one_go_on(
    shop, tenant, documents, waiting, is_ready
):
    live = versions.statuses(tenant)[0]
    assert replace(live, documents=documents, waiting=waiting).is_ready == is_ready
