import json
import re
import uuid

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.urls import reverse
from django.utils import timezone, translation

from chat import services, stream
from chat.following import BEGINNING
from chat.models import Conversation, Message
from chat.pages.presenting import answer_of, text_fragment
from chat.pages.streaming import lines
from chat.payload import message_body
from core.states import State
from tenants import services as tenants

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("rung")]

CITATION = {"n": 1, "url": "https://acme.example/refunds", "title": "Refunds", "quote": "You can return any item."}


@pytest.fixture
def member(tenant):
    user = User.objects.create_user("mina")
    tenants.add_member(tenant=tenant, user=user)
    return user


@pytest.fixture
def browser(client, member):
    client.force_login(member)
    return client


@pytest.fixture
def message(tenant, member):
    return services.ask(tenant=tenant, question="How long do I have to return an item?", member=member)


def finish(message, **values):
    defaults = {"state": State.DONE, "finish_reason": "answered", "model": "extractive", "finished_at": timezone.now()}
    Message.objects.filter(pk=message.pk).update(
        **defaults | {"answer": "30 days [1].", "citations": [CITATION]} | values
    )
    message.refresh_from_db()
    return message


def post(client, **body):
    return client.post(reverse("chat-ask"), json.dumps(body), content_type="application/json")


def read(message, *, language="en", after=BEGINNING):
    async def collect():
        return [text async for text in lines(message, language=language, after=after)]

    blocks = [dict(line.split(": ", 1) for line in text.strip().splitlines()) for text in async_to_sync(collect)()]
    return [(block["event"], json.loads(block["data"])) for block in blocks if "event" in block]


# --- Who sees what ------------------------------------------------------------------------------------------------


def test_a_visitor_is_asked_to_log_in(client, message):
    for path in ("/", reverse("chat-conversation", args=[message.conversation_id])):
        assert client.get(path)["Location"].startswith("/login/?next=/")
    assert post(client, tenant="acme", question="Hi?").status_code == 401
    assert client.get(reverse("chat-stream", args=[message.pk])).status_code == 404
    assert client.post(reverse("chat-stop", args=[message.pk])).status_code == 404


def test_another_member_of_the_same_tenant_cannot_see_a_conversation(client, tenant, message):
    other = User.objects.create_user("omid")
    tenants.add_member(tenant=tenant, user=other)
    client.force_login(other)

    assert client.get(reverse("chat-conversation", args=[message.conversation_id])).status_code == 404
    assert client.get(reverse("chat-stream", args=[message.pk])).status_code == 404
    assert client.post(reverse("chat-stop", args=[message.pk])).status_code == 404
    asked = post(client, tenant="acme", question="Hi?", conversation_id=str(message.conversation_id))
    assert (asked.status_code, asked.json()["code"]) == (404, "conversation_not_found")
    assert message.conversation.title not in client.get("/").content.decode()


def test_a_former_member_cannot_see_what_they_asked(browser, member, message):
    member.memberships.all().delete()

    assert browser.get(reverse("chat-conversation", args=[message.conversation_id])).status_code == 404
    assert browser.get(reverse("chat-stream", args=[message.pk])).status_code == 404
    assert post(browser, tenant="acme", question="Hi?").json()["code"] == "tenant_not_found"
    assert browser.get("/").status_code == 403


def test_a_conversation_of_an_end_user_is_not_on_the_page(browser, tenant):
    message = services.ask(tenant=tenant, question="Hi?", user_id="42")

    assert browser.get(reverse("chat-conversation", args=[message.conversation_id])).status_code == 404
    assert browser.get(reverse("chat-stream", args=[message.pk])).status_code == 404


def test_a_tenant_that_is_not_mine_is_not_found(browser):
    tenants.create_tenant(slug="other")

    assert browser.get("/?tenant=other").status_code == 404
    assert post(browser, tenant="other", question="Hi?").json()["code"] == "tenant_not_found"
    assert not Message.objects.exists()


def test_a_member_of_several_tenants_chooses_one(browser, member):
    tenants.add_member(tenant=tenants.create_tenant(slug="zeta", name="Zeta"), user=member)

    assert 'data-tenant="acme"' in browser.get("/").content.decode()
    assert 'data-tenant="zeta"' in browser.get("/?tenant=zeta").content.decode()
    assert 'href="/?tenant=zeta"' in browser.get("/").content.decode()


# --- Asking -------------------------------------------------------------------------------------------------------


def test_asking_returns_where_to_follow_the_answer(browser, tenant, member, django_capture_on_commit_callbacks, rung):
    with django_capture_on_commit_callbacks(execute=True):
        asked = post(browser, tenant="acme", question="  چند روز <b>فرصت</b> دارم؟ ", conversation_id="")

    message = Message.objects.get()
    assert asked.status_code == 202
    assert rung == [str(message.pk)]
    assert (message.tenant, message.conversation.member) == (tenant, member)
    html = asked.json()["html"]
    assert f'data-stream="{reverse("chat-stream", args=[message.pk])}"' in html
    assert '<h2 class="question" dir="rtl">چند روز &lt;b&gt;فرصت&lt;/b&gt; دارم؟</h2>' in html
    follow_up = post(browser, tenant="acme", question="Why?", conversation_id=asked.json()["conversation_id"])
    assert follow_up.json()["conversation_id"] == asked.json()["conversation_id"]
    assert Conversation.objects.count() == 1


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"tenant": "acme", "question": " "}, 422, "question_empty"),
        ({"tenant": "acme", "question": "x" * 2001}, 422, "question_too_long"),
        ({"tenant": "acme", "question": "x\x00"}, 422, "question_invalid"),
        ({"tenant": "acme", "question": "x", "conversation_id": "not-an-id"}, 404, "conversation_not_found"),
        ({"tenant": "acme", "question": "x", "conversation_id": str(uuid.uuid4())}, 404, "conversation_not_found"),
        ({"tenant": "nobody", "question": "x"}, 404, "tenant_not_found"),
        ({"tenant": "acme\x00", "question": "x"}, 400, "invalid"),
        ({"tenant": ["acme"], "question": "x"}, 400, "invalid"),
        ({"tenant": "acme"}, 400, "invalid"),
        ([], 400, "invalid"),
        ("acme", 400, "invalid"),
    ],
)
def test_a_bad_question_is_named_in_the_persons_language(browser, body, status, code):
    asked = browser.post(
        reverse("chat-ask"), json.dumps(body), content_type="application/json", headers={"accept-language": "fa"}
    )

    assert (asked.status_code, asked.json()["code"]) == (status, code)
    assert any("\u0600" <= char <= "\u06ff" for char in asked.json()["detail"])


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 20_000, b'{"question": "' + b"x" * 70_000 + b'"}'])
def test_a_body_that_is_not_a_question_is_refused(browser, body):
    assert browser.post(reverse("chat-ask"), body, content_type="application/json").status_code == 400


def test_asking_and_stopping_need_the_csrf_token(member, message):
    from django.test import Client

    strict = Client(enforce_csrf_checks=True)
    strict.force_login(member)

    assert post(strict, tenant="acme", question="Hi?").status_code == 403
    assert strict.post(reverse("chat-stop", args=[message.pk])).status_code == 403
    assert strict.get(reverse("chat-stop", args=[message.pk])).status_code == 405


def test_stop_ends_a_question_nobody_has_taken(browser, message):
    assert browser.post(reverse("chat-stop", args=[message.pk])).status_code == 204

    assert answer_of(Message.objects.get()).state == "stopped"


# --- The page -----------------------------------------------------------------------------------------------------


def test_the_empty_page_suggests_questions_from_the_tenants_own_pages_in_its_language(browser, site):
    english = browser.get("/").content.decode()
    persian = browser.get("/", headers={"accept-language": "fa"}).content.decode()

    assert "What does the site say about “Refunds”?" in english
    assert "سایت دربارهٔ «بازگشت وجه» چه می‌گوید؟" in persian
    assert '<html lang="fa" dir="rtl">' in persian
    assert "Refunds" not in persian


def test_the_page_of_a_tenant_without_pages_says_so(browser):
    assert "No page has been read yet" in browser.get("/").content.decode()


def test_the_conversation_shows_answers_with_their_sources_and_says_that_they_are_quoted(browser, message):
    finish(message)

    html = browser.get(reverse("chat-conversation", args=[message.conversation_id])).content.decode()

    assert '<button type="button" class="cite" data-n="1"' in html
    assert 'href="https://acme.example/refunds#:~:text=You%20can%20return%20any%20item."' in html
    assert "Quoted from the site" in html
    assert "data-stream" not in html


def test_an_unfinished_answer_is_followed_again_after_a_reload(browser, message):
    html = browser.get(reverse("chat-conversation", args=[message.conversation_id])).content.decode()

    assert f'data-stream="{reverse("chat-stream", args=[message.pk])}"' in html
    assert 'aria-busy="true"' in html


def test_pages_carry_a_strict_policy_and_nothing_inline(browser, message):
    for path in ("/", reverse("chat-conversation", args=[message.conversation_id]), "/handbook/en/", "/nothing/"):
        response = browser.get(path)
        policy, html = response["Content-Security-Policy"], response.content.decode()
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert "<style" not in html
        tags = re.findall(r"<[a-z][^>]*>", html)
        assert not [tag for tag in tags if re.search(r"\s(style|on[a-z]+)=", tag)]
        assert all("src=" in tag for tag in tags if tag.startswith("<script"))


def test_a_long_conversation_costs_as_many_queries_as_a_short_one(
    browser, tenant, member, message, django_assert_num_queries
):
    for _ in range(5):
        services.ask(tenant=tenant, question="Again?", member=member, conversation_id=message.conversation_id)

    # session, user, conversation with its tenant, messages, tenants, conversations, notices
    with django_assert_num_queries(7):
        browser.get(reverse("chat-conversation", args=[message.conversation_id]))


def test_a_failure_is_told_in_words_and_can_be_retried(message):
    finish(message, state=State.FAILED, finish_reason="error", error_code="llm_timeout", answer="", citations=[])

    with translation.override("fa"):
        html = answer_of(message).as_html()

    assert "مدل زبانی بیش از اندازه طول داد." in html
    assert 'data-action="retry"' in html


def test_no_answer_lists_the_nearest_pages_once(message):
    near = CITATION | {"nearest": True}
    text = "I could not find this in this site's content.\n\nThe nearest pages:\n\n- Refunds [1]"
    finish(message, finish_reason="not_found", answer=text, citations=[near])

    html = answer_of(message).as_html()

    assert "Nearest pages" in html
    assert html.count(">Refunds<") == 1
    assert "Quoted from the site" not in html


def test_a_source_that_is_not_on_the_web_is_not_a_link(message):
    finish(message, citations=[CITATION | {"url": "javascript:alert(1)", "title": "<b>"}])

    html = answer_of(message).as_html()

    assert "href" not in html
    assert "&lt;b&gt;" in html


@pytest.mark.parametrize(
    ("words", "fragment"),
    [
        ("", ""),
        ("سه صف", "#:~:text=%D8%B3%D9%87%20%D8%B5%D9%81"),
        ("a-b, c & d", "#:~:text=a%2Db%2C%20c%20%26%20d"),
        (
            "one two three four five six seven eight nine",
            "#:~:text=one%20two%20three%20four,six%20seven%20eight%20nine",
        ),
    ],
)
def test_a_text_fragment_names_the_quoted_words(words, fragment):
    assert text_fragment(words) == fragment


# --- The stream ---------------------------------------------------------------------------------------------------


@pytest.fixture
def streamed(message, redis_client):
    """A finished message whose stream holds its whole story."""
    writer = stream.Writer(message.pk, 1)
    writer.status("searching")
    writer.sources([CITATION])
    for text in ("You have ", "**30 days** ", "[1]."):
        writer.delta(text)
        writer.flush()
    finish(message, answer=writer.text)
    writer.end("done", message_body(message))
    return message


def test_the_stream_ends_with_the_same_html_as_the_history(streamed):
    events = read(streamed)

    name, last = events[-1]
    assert name == "end"
    assert last == {"state": "done", "status": "The answer is complete.", "html": answer_of(streamed).as_html()}
    assert "<strong>30 days</strong>" in last["html"]


def test_the_stream_speaks_the_language_of_the_page(streamed):
    _name, last = read(streamed, language="fa")[-1]

    assert last["status"] == "پاسخ کامل شد."
    assert "نقل از سایت" in last["html"]


def test_a_broken_connection_goes_on_after_the_last_event_it_saw(streamed, redis_client):
    ids = [entry_id for entry_id, _fields in redis_client.xrange(stream.key_of(streamed.pk))]

    assert [name for name, _ in read(streamed, after=ids[-2])] == ["end"]
    assert read(streamed, after=ids[-2])[-1][1]["html"] == answer_of(streamed).as_html()


@pytest.mark.django_db(transaction=True)
def test_without_a_stream_the_row_tells_the_answer(streamed, redis_client):
    redis_client.delete(stream.key_of(streamed.pk))

    assert [name for name, _ in read(streamed)][-1] == "end"
    assert "30 days" in read(streamed)[-1][1]["html"]


def test_a_second_attempt_replaces_the_text_of_the_first(message, redis_client):
    writer = stream.Writer(message.pk, 1)
    writer.delta("half an ans")
    writer.flush()
    writer = stream.Writer(message.pk, 2)
    writer.delta("whole")
    finish(message, answer="whole", citations=[])
    writer.end("done", message_body(message))

    assert "half" not in read(message)[-1][1]["html"]
