import re
from datetime import UTC, datetime

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from playwright.sync_api import expect

from chat import services as chat
from chat import tasks
from chat.models import Message
from core.states import State
from knowledge.services import store_page
from tenants import services as tenants

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

RETURNS = "# Refunds\n\nYou can return any item within 30 days of delivery. The money goes back to your card.\n"
RETURNS_FA = "# بازگشت کالا\n\nهر کالا را تا ۳۰ روز پس از تحویل می‌توانید بازگردانید. وجه به کارت شما واریز می‌شود.\n"


@pytest.fixture
def tenant(db):
    tenant = tenants.create_tenant(slug="acme", name="Acme")
    now = datetime.now(UTC)
    pages = [("en", "Refunds", RETURNS), ("fa", "بازگشت کالا", RETURNS_FA)]
    for language, title, content in pages:
        url = f"https://acme.example/{language}/refunds"
        store_page(tenant=tenant, url=url, title=title, language=language, content=content, fetched_at=now)
    return tenant


@pytest.fixture
def member(tenant):
    user = User.objects.create_user("mina", password="correct horse")
    tenants.add_member(tenant=tenant, user=user)
    return user


@pytest.fixture
def log_in(open_page, member):
    def window(path="/", **options):
        page = open_page(**options)
        page.goto(path)
        page.locator("#id_username").fill("mina")
        page.locator("#id_password").fill("correct horse")
        page.locator("button.primary").click()
        page.locator("html[data-ready]").wait_for()
        return page

    return window


@pytest.fixture
def waiting(tenant, member, monkeypatch):
    """A question that no worker has been told of yet."""
    monkeypatch.setattr(tasks, "ring", lambda *_ids, **_options: True)
    message = chat.ask(tenant=tenant, question="How long do I have to return an item?", member=member)
    monkeypatch.undo()
    return message


@pytest.mark.usefixtures("worker")
def test_ask_read_the_answer_and_open_its_source(log_in):
    page = log_in()
    page.locator("#question").fill("Within how many days can I return an item?")
    page.keyboard.press("Enter")

    expect(page.locator(".exchange .prose")).to_contain_text("within 30 days of delivery")
    expect(page.locator(".exchange")).to_have_attribute("data-state", "done")
    expect(page.locator(".label")).to_have_text("Quoted from the site")
    expect(page.locator("#question")).to_be_focused()
    expect(page.locator("#question")).to_have_value("")
    expect(page).to_have_url(re.compile(r"/chat/[0-9a-f-]{36}/$"))
    page.locator(".cite").click()
    source = page.locator("#citation")
    expect(source).to_contain_text("Refunds")
    expect(source).to_contain_text("acme.example")
    expect(source.locator(".source-quote")).to_contain_text("within 30 days")
    link = source.get_by_role("link", name="Open page")
    expect(link).to_have_attribute("href", re.compile(r"^https://acme\.example/en/refunds#:~:text=You%20can%20return"))
    expect(link).to_be_focused()
    page.keyboard.press("Escape")
    expect(source).to_be_hidden()
    expect(page.locator(".cite")).to_be_focused()
    helpful = page.get_by_role("button", name="Helpful", exact=True)
    helpful.click()
    expect(helpful).to_have_attribute("aria-pressed", "true")
    page.reload()
    expect(helpful).to_have_attribute("aria-pressed", "true")
    expect(page.locator(".source-text time")).to_contain_text("read on")
    expect(page.locator(".exchange .prose")).to_contain_text("within 30 days of delivery")


@pytest.mark.usefixtures("worker")
def test_the_persian_page_runs_from_right_to_left_on_a_phone(log_in):
    page = log_in(locale="fa-IR", width=360, has_touch=True)
    expect(page.locator("html")).to_have_attribute("dir", "rtl")
    page.locator("#question").fill("کالا را تا چند روز می‌توانم بازگردانم؟")
    page.locator("#send").click()

    expect(page.locator(".prose p").first).to_have_attribute("dir", "rtl")
    expect(page.locator(".prose")).to_contain_text("۳۰ روز پس از تحویل")
    expect(page.locator(".cite").first).to_have_text("۱")
    expect(page.locator(".label")).to_have_text("نقل از سایت")
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    question, viewport = page.locator(".question").bounding_box(), 360
    assert viewport - (question["x"] + question["width"]) < 30


def test_a_hostile_answer_does_nothing(log_in, waiting):
    hostile = (
        "<script>window.pwned=1</script><img src=x onerror='window.pwned=1'> ![x](https://evil.example/p.png) "
        "[click](javascript:window.pwned=1) [page](https://evil.example/) \u202e<svg onload=window.pwned=1> [1] [2]"
    )
    citation = {
        "n": 1,
        "url": "javascript:window.pwned=1",
        "title": "<img src=x onerror=window.pwned=1>",
        "quote": "<b>",
    }
    Message.objects.filter(pk=waiting.pk).update(
        state=State.DONE, finish_reason="answered", answer=hostile, citations=[citation], finished_at=timezone.now()
    )

    page = log_in(f"/chat/{waiting.conversation_id}/")
    page.locator(".cite").click()

    expect(page.locator("#citation")).to_contain_text("<img src=x")
    assert page.locator(".exchange img, .exchange svg[onload], .exchange script, .exchange .prose a").count() == 0
    assert page.locator("#citation a, #citation img").count() == 0
    assert page.evaluate("window.pwned") is None


@pytest.mark.usefixtures("worker")
def test_an_answer_is_followed_again_after_a_reload(log_in, waiting):
    page = log_in(f"/chat/{waiting.conversation_id}/")
    expect(page.locator(".answer")).to_have_attribute("aria-busy", "true")
    page.reload()
    expect(page.locator("#stop")).to_be_visible()

    tasks.answer_message_task.delay(message_id=str(waiting.pk))

    expect(page.locator(".prose")).to_contain_text("within 30 days of delivery")
    expect(page.locator("#send")).to_be_visible()
    expect(page.locator("#status")).to_contain_text("The answer is complete.")


def test_everything_works_by_keyboard(log_in, waiting):
    page = log_in(f"/chat/{waiting.conversation_id}/")
    page.locator("#scroller").focus()
    page.keyboard.press("/")
    expect(page.locator("#question")).to_be_focused()
    expect(page.locator("#question")).to_have_value("")

    page.keyboard.press("Escape")
    expect(page.locator(".exchange")).to_have_attribute("data-state", "stopped")
    expect(page.locator("#stop")).to_be_hidden()

    page.keyboard.type("one")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("two")
    expect(page.locator("#question")).to_have_value("one\ntwo")
    page.locator("#question").dispatch_event("keydown", {"key": "Enter", "isComposing": True, "bubbles": True})
    expect(page.locator("#question")).to_have_value("one\ntwo")
    assert page.locator(".exchange").count() == 1


def test_a_question_that_cannot_be_sent_comes_back(log_in):
    page = log_in()
    page.route("**/chat/ask/", lambda route: route.fulfill(status=200, content_type="text/html", body="not json"))
    page.locator("#question").fill("Is anybody there?")
    page.keyboard.press("Enter")

    expect(page.locator("#problem")).to_contain_text("The server cannot be reached")
    expect(page.locator("#question")).to_have_value("Is anybody there?")
    expect(page.locator(".exchange")).to_have_count(0)


@pytest.mark.parametrize("path", ["/handbook/fa/%D8%AE%D8%B2%D8%B4/", "/handbook/en/configuration/", "/login/"])
def test_public_pages_fit_a_phone(open_page, path):
    page = open_page(width=360)
    page.goto(path)

    assert page.evaluate("document.documentElement.scrollWidth") == 360
    assert page.locator("h1").count() == 1
