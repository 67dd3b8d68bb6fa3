"""What people and crawls do to the live version while another stands beside it is done to both."""

from datetime import timedelta

import pytest
from django.utils import timezone

from core.states import State
from crawl import services, uploading, versions
from crawl.models import CrawlRun, Upload, Website
from knowledge import services as knowledge
from knowledge import tasks
from knowledge.deleting import delete_embeddings
from knowledge.models import Chunk, Document, SyncItem, VersionCopy
from knowledge.search import search
from tests.site import Answer

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("silent")]

WARRANTY = "How long is the warranty?"


@pytest.fixture(params=["read anew", "copied"])
def prepare(request, shop, tenant, work):
    """Begin the next version; ``finish`` has it made to the end."""

    class Next:
        def begin(self):
            self.holder = versions.prepare(tenant, recrawl=request.param == "read anew")
            return self.holder

        def finish(self):
            tasks.copy_version_task(copy_id=str(VersionCopy.objects.get(tenant=self.holder).pk))
            work()
            SyncItem.objects.update(state=State.DONE)

    return Next()


def hand_over(tenant, text, name="warranty.txt"):
    upload = services.upload_document(tenant=tenant, body=text.encode(), name=name, content_type="text/plain")
    uploading.read(Upload.objects.claim(upload.pk))
    SyncItem.objects.update(state=State.DONE)
    return Document.objects.for_tenant(tenant).get(url=f"upload:{name}")


def delete(tenant, name):
    assert knowledge.remove_page(tenant=tenant, url=f"upload:{name}")


def told(tenant, question=WARRANTY):
    return [passage.content for passage in search(tenant=tenant, query=question)]


def names(tenant):
    return sorted(url.rpartition("/")[2] for url in Document.objects.for_tenant(tenant).values_list("url", flat=True))


@pytest.mark.parametrize("is_late", [False, True], ids=["before it is made", "after it was made"])
def test_what_is_handed_over_replaced_and_deleted_meanwhile_is_so_after_the_switch(prepare, tenant, is_late):
    hand_over(tenant, "The warranty is 12 months.")
    hand_over(tenant, "Old terms.", "terms.txt")
    holder = prepare.begin()
    if is_late:
        prepare.finish()
    hand_over(tenant, "The warranty is 24 months.")
    hand_over(tenant, "Repairs take two weeks.", "repairs.txt")
    delete(tenant, "terms.txt")
    if not is_late:
        prepare.finish()

    live = names(tenant)
    assert names(holder.as_holder()) == live
    versions.switch(tenant)
    assert names(tenant) == live == ["", "hours", "price", "upload:repairs.txt", "upload:warranty.txt"]
    assert told(tenant)[0] == "The warranty is 24 months."
    documents = Upload.objects.filter(name="warranty.txt").values_list("document__tenant", flat=True)
    assert set(documents) == {holder.pk}, "an upload names the document that is live"


def test_what_is_handed_over_replaced_and_deleted_after_the_switch_is_so_after_the_way_back(prepare, tenant):
    hand_over(tenant, "The warranty is 12 months.")
    hand_over(tenant, "Old terms.", "terms.txt")
    prepare.begin()
    prepare.finish()
    versions.switch(tenant)
    hand_over(tenant, "The warranty is 24 months.")
    hand_over(tenant, "Repairs take two weeks.", "repairs.txt")
    delete(tenant, "terms.txt")

    versions.roll_back(tenant)
    assert names(tenant) == ["", "hours", "price", "upload:repairs.txt", "upload:warranty.txt"]
    assert told(tenant)[0] == "The warranty is 24 months."
    SyncItem.objects.update(state=State.DONE)
    versions.switch(tenant)
    assert told(tenant)[0] == "The warranty is 24 months."


@pytest.mark.parametrize("is_late", [False, True], ids=["before it is made", "after it was made"])
def test_a_page_that_the_site_takes_away_is_not_cited_after_the_switch_nor_after_the_way_back(
    prepare, tenant, site, crawl, is_late
):
    prepare.begin()
    if is_late:
        prepare.finish()
    site.routes.pop("/hours")
    crawl()
    prepare.finish()
    versions.switch(tenant)
    assert names(tenant) == ["", "price"]

    site.routes.pop("/price")
    crawl()
    versions.roll_back(tenant)
    assert names(tenant) == [""]
    assert not any("euros" in text for text in told(tenant, "What does the lamp cost?"))


def test_what_a_crawl_of_the_live_version_reads_meanwhile_is_in_both_and_the_newest_reading_wins(
    prepare, tenant, site, crawl
):
    holder = prepare.begin()
    prepare.finish()
    site.add_page("/price", "<p>The lamp costs 30 euros in the shop.</p>")
    crawl()
    assert "30 euros" in told(holder.as_holder(), "What does the lamp cost?")[0]

    page = {"title": "", "language": "en", "content": "The lamp costs 10 euros in the shop."}
    url = f"{site.url}/price"
    knowledge.store_page(tenant=tenant, url=url, fetched_at=timezone.now() - timedelta(days=1), **page)
    SyncItem.objects.update(state=State.DONE)
    versions.switch(tenant)
    assert "30 euros" in told(tenant, "What does the lamp cost?")[0]


def test_a_version_that_is_being_prepared_changes_nothing_of_the_live_one(prepare, tenant, site):
    holder = prepare.begin()
    site.routes.pop("/hours")
    prepare.finish()
    page = {"title": "", "language": "en", "content": "Only here.", "fetched_at": timezone.now()}
    knowledge.store_page(tenant=holder, url=f"{site.url}/only", **page)
    knowledge.remove_page(tenant=holder, url=f"{site.url}/price")

    assert names(tenant) == ["", "hours", "price"]


def test_a_page_whose_text_moved_to_another_stays_in_the_versions_that_may_not_have_that_other(
    prepare, tenant, site, crawl
):
    prepare.begin()
    prepare.finish()
    versions.switch(tenant)
    previous = tenant.find_version(versions.PREVIOUS)
    site.routes["/hours"] = Answer(status=301, headers={"Location": "/price"})
    crawl()

    assert names(tenant) == ["", "price"]
    assert names(previous) == ["", "hours", "price"]


@pytest.mark.parametrize("is_late", [False, True], ids=["before it is made", "after it was made"])
def test_passages_deleted_on_demand_stay_deleted_and_those_brought_back_are_back(prepare, tenant, site, is_late):
    document = Document.objects.for_tenant(tenant).get(url=f"{site.url}/price")
    delete_embeddings(document.pk)
    holder = prepare.begin()
    prepare.finish()
    assert Chunk.objects.filter(document__tenant=holder, document__url=document.url).count() == 0
    other = Document.objects.for_tenant(tenant).get(url=f"{site.url}/hours")
    if is_late:
        delete_embeddings(other.pk)
        knowledge.resync_document(document=document)
        SyncItem.objects.update(state=State.DONE)

    versions.switch(tenant)
    found = told(tenant, "lamp euros shop open")
    assert any("euros" in text for text in found) == is_late
    assert any("nine" in text for text in found) != is_late


def test_what_was_excluded_before_the_next_versions_crawl_came_to_it_is_excluded_by_the_switch(
    shop, tenant, site, work
):
    holder = versions.prepare(tenant, recrawl=True)
    tasks.copy_version_task(copy_id=str(VersionCopy.objects.get(tenant=holder).pk))
    delete_embeddings(Document.objects.for_tenant(tenant).get(url=f"{site.url}/price").pk)
    work()
    SyncItem.objects.update(state=State.DONE)
    versions.switch(tenant)

    assert Document.objects.for_tenant(tenant).get(url=f"{site.url}/price").excluded_at
    assert not any("euros" in text for text in told(tenant, "lamp euros shop"))


@pytest.mark.parametrize("is_late", [False, True], ids=["before it is made", "after it was made"])
def test_a_website_removed_meanwhile_is_gone_from_all_versions_and_an_added_one_is_in_all(
    prepare, tenant, site, crawl, is_late
):
    site.add_page("/", '<p>Welcome.</p><a href="/new">New</a>')
    site.add_page("/new", "<p>Only the next version has read this.</p>")
    prepare.begin()
    if is_late:
        prepare.finish()
    hand_over(tenant, "The warranty is 24 months.")
    site.add_page("/other/", "<p>The branch is in Yazd.</p>")
    services.remove_website(website=Website.objects.for_tenant(tenant).get())
    crawl("/other/")
    if not is_late:
        prepare.finish()
    SyncItem.objects.update(state=State.DONE)
    versions.switch(tenant)
    assert names(tenant) == ["", "upload:warranty.txt"]
    assert told(tenant, "Where is the branch?")[0] == "The branch is in Yazd."

    services.remove_website(website=Website.objects.for_tenant(tenant).get())
    versions.roll_back(tenant)
    assert names(tenant) == ["upload:warranty.txt"]
    assert CrawlRun.objects.active().count() == 0


def test_a_website_told_to_be_read_otherwise_is_read_so_for_the_next_version_as_well(shop, tenant, work):
    holder = versions.prepare(tenant, recrawl=True)
    services.update_website(website=shop, exclude=["/price"], crawl_every_hours=24)
    work()

    twin = Website.objects.for_tenant(holder).get()
    assert (twin.exclude_patterns, twin.crawl_every_hours) == (["/price"], None)
    assert names(holder) == ["", "hours"]
