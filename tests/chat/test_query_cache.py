"""The query cache: who may get an answer that was written earlier, and when nobody may any more."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import cache

import pytest
from django.utils import timezone

from chat import query_cache, services, stream, tasks
from chat.models import CachedAnswer, Message
from core.redis import client
from core.states import State
from knowledge import embeddings
from knowledge.embeddings import EmbeddingError
from knowledge.models import Chunk
from knowledge.services import remove_page, store_page
from tenants import services as tenants
from tenants.models import WebhookEvent
from tests.sessions import in_own_session

# Committed for real: the thread that keeps leases has a session of its own, and gives up a row that it cannot see.
pytestmark = pytest.mark.django_db(transaction=True)

QUESTION = "Within how many days can I return an item?"
REFUNDS = "https://acme.example/refunds"


def store(tenant, url, content, title="Page"):
    """Store a page whose passages have their vectors: without any, nothing is kept."""
    store_page(tenant=tenant, url=url, title=title, language="en", content=content, fetched_at=datetime.now(UTC))
    with_vectors()


def with_vectors():
    for chunk in Chunk.objects.select_related("document"):
        chunk.embedding = vector_of(f"{chunk.document.title}\n{chunk.content}")
        chunk.embedding_model = embeddings.model_id()
        chunk.save(update_fields=["embedding", "embedding_model"])


@cache
def vector_of(text):
    return embeddings.embed_passages([text])[0]


@pytest.fixture
def known(site, rung):
    """The site of the other tests, with vectors; doorbells are rung by hand."""
    with_vectors()


def ask(tenant, question=QUESTION, **values):
    """Ask, let a worker answer, return the message."""
    message = services.ask(tenant=tenant, question=question, **({"user_id": "u1"} | values))
    tasks.answer_message_task(message_id=str(message.pk))
    message.refresh_from_db()
    assert message.state == State.DONE
    return message


def test_the_second_who_asks_gets_the_answer_of_the_first_without_the_model(tenant, known, use_model, model_server):
    use_model("good")

    first, second = ask(tenant), ask(tenant, user_id="u2")

    assert model_server.calls == 1
    assert (first.is_cached, second.is_cached) == (False, True)
    for field in ("answer", "citations", "finish_reason", "model"):
        assert getattr(second, field) == getattr(first, field) != ""
    assert second.first_token_at <= second.finished_at


def test_a_cached_answer_counts_tells_and_streams_like_any_other(tenant, known, redis_client):
    tenants.create_endpoint(tenant=tenant, url="https://users.acme.example/hooks")
    ask(tenant)

    cached = ask(tenant)

    end_user = tenants.get_end_user(tenant=tenant, external_id="u1")
    assert tenants.allowance(tenant=tenant, end_user=end_user).used == 2
    assert WebhookEvent.objects.get(key=str(cached.pk)).payload["answer"] == cached.answer
    events = [fields["event"] for _id, fields in client().xrange(stream.key_of(cached.pk))]
    assert events == ["status", "sources", "delta", "done"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (QUESTION, "  within how many days can I return an ITEM ??"),
        ("کالا را تا چند روز می‌توانم بازگردانم؟", "كالا را تا چند روز مي توانم بازگردانم"),
        ("تا ۳۰ روز بازگشت وجه دارید؟", "تا 30 روز بازگشت وجه دارید"),
    ],
)
def test_spellings_of_one_question_share_their_answer(tenant, known, one, other):
    ask(tenant, one)

    assert ask(tenant, other).is_cached


@pytest.mark.parametrize("other", ["Within how many days can I return items?", "C", "C#", "کالا؟"])
def test_another_question_has_another_answer(tenant, known, other):
    ask(tenant)
    ask(tenant, "C++")

    assert not ask(tenant, other).is_cached


def test_a_page_that_was_read_again_unchanged_ends_nothing(tenant, known, site):
    ask(tenant)
    url, title, language, content = site[1]

    store_page(tenant=tenant, url=url, title=title, language=language, content=content, fetched_at=datetime.now(UTC))

    assert ask(tenant).is_cached


def test_a_changed_page_ends_what_cited_it(tenant, known):
    assert "30 days" in ask(tenant).answer

    store(tenant, REFUNDS, "You can return any item within 14 days of delivery.", title="Refunds")

    after = ask(tenant)
    assert not after.is_cached
    assert "14 days" in after.answer


def test_a_removed_page_ends_what_cited_it(tenant, known):
    ask(tenant)

    remove_page(tenant=tenant, url=REFUNDS)

    after = ask(tenant)
    assert not after.is_cached
    assert REFUNDS not in {citation["url"] for citation in after.citations}


def test_a_new_page_answers_what_was_not_found(tenant, known):
    question = "Which colours does the turbine come in?"
    assert [ask(tenant, question).finish_reason, ask(tenant, question).is_cached] == ["not_found", True]

    store(tenant, "https://acme.example/turbine", "The turbine comes in the colours red and green.", title="Turbine")

    after = ask(tenant, question)
    assert (after.finish_reason, after.is_cached) == ("answered", False)


def test_a_page_that_changes_while_the_answer_is_written_ends_it_too(tenant, known, monkeypatch):
    from chat.answering import extractive

    write = extractive.answer

    def meanwhile(*arguments):
        store(tenant, REFUNDS, "You can return any item within 14 days of delivery.", title="Refunds")
        return write(*arguments)

    monkeypatch.setattr(extractive, "answer", meanwhile)
    assert "30 days" in ask(tenant).answer
    monkeypatch.undo()

    assert "14 days" in ask(tenant).answer


def test_twenty_tenants_with_one_question_never_see_each_others_answer(db, rung):
    crowd = [tenants.create_tenant(slug=f"shop-{number}") for number in range(20)]
    for number, tenant in enumerate(crowd):
        store(tenant, "https://shop.example/", f"You can return any item within {number + 100} days of delivery.")

    for is_warm in (False, True, True):
        for number, tenant in enumerate(crowd):
            message = ask(tenant)
            assert message.is_cached == is_warm
            assert f"{number + 100} days" in message.answer
            assert f"{number + 100} days" in message.citations[0]["quote"]
    assert CachedAnswer.objects.count() == 20


def test_a_row_of_another_tenant_is_not_found_even_under_the_same_key(tenant, known):
    ask(tenant)
    stranger = tenants.create_tenant(slug="stranger")
    slot = query_cache.slot(tenant=tenant, question=QUESTION, model="extractive")

    assert slot.find() is not None
    CachedAnswer.objects.update(tenant=stranger)
    assert slot.find() is None
    assert query_cache.slot(tenant=stranger, question=QUESTION, model="extractive").key != slot.key


def test_a_question_that_follows_another_is_neither_kept_nor_found_with_a_model(tenant, known, use_model):
    use_model("good")
    first = ask(tenant)
    ask(tenant, "And gift cards?", conversation_id=first.conversation_id)
    assert CachedAnswer.objects.count() == 1

    assert not ask(tenant, conversation_id=first.conversation_id).is_cached
    assert not ask(tenant, "And gift cards?").is_cached


def test_small_talk_is_not_kept(tenant, known):
    ask(tenant, "سلام")

    assert not CachedAnswer.objects.exists()


def test_an_answer_that_failed_is_not_kept(tenant, known, use_model):
    use_model("half")
    message = services.ask(tenant=tenant, question=QUESTION, user_id="u1")

    tasks.answer_message_task(message_id=str(message.pk))

    message.refresh_from_db()
    assert message.state == State.FAILED
    assert not CachedAnswer.objects.exists()


def test_an_answer_that_was_stopped_is_not_kept(tenant, known, monkeypatch):
    from core.jobs import Lease

    monkeypatch.setattr(Lease, "is_over", True)
    message = services.ask(tenant=tenant, question=QUESTION, user_id="u1")

    tasks.answer_message_task(message_id=str(message.pk))

    assert not CachedAnswer.objects.exists()


def test_a_makeshift_answer_without_the_embedding_model_is_not_kept(tenant, known, monkeypatch):
    def away(*_args, **_options):
        raise EmbeddingError("away")

    with monkeypatch.context() as patch:
        patch.setattr(embeddings, "embed_query", away)
        assert "30 days" in ask(tenant).answer

    assert not ask(tenant).is_cached


@pytest.mark.parametrize(
    ("name", "value"),
    [("LLM_MAX_TOKENS", 7), ("EMBEDDING_QUERY_PREFIX", "query: "), ("QUERY_CACHE_ENABLED", False)],
)
def test_other_settings_or_the_switch_find_nothing(tenant, known, settings, name, value):
    ask(tenant)

    setattr(settings, name, value)

    assert not ask(tenant).is_cached


def test_other_models_have_other_places(tenant):
    slots = [query_cache.slot(tenant=tenant, question=QUESTION, model=model) for model in ("extractive", "qwen")]

    assert slots[0].key != slots[1].key


def test_new_code_or_prompts_find_nothing_of_the_old(tmp_path):
    prompt = tmp_path / "generated.py"
    prompt.write_text("RULES = 1")
    before = query_cache.digest_of_files([prompt])

    prompt.write_text("RULES = 2")

    assert query_cache.digest_of_files([prompt]) != before


def test_an_answer_has_its_time(tenant, known):
    ask(tenant)
    CachedAnswer.objects.update(expires_at=timezone.now() - timedelta(seconds=1))

    assert not ask(tenant).is_cached
    assert ask(tenant).is_cached


def test_its_use_is_noted_at_most_once_an_hour(tenant, known):
    ask(tenant)
    just_now = CachedAnswer.objects.get().used_at
    ask(tenant)
    assert CachedAnswer.objects.get().used_at == just_now

    CachedAnswer.objects.update(used_at=just_now - timedelta(hours=2))
    ask(tenant)

    assert CachedAnswer.objects.get().used_at > just_now


def test_a_cache_that_cannot_be_written_costs_nobody_an_answer(tenant, known, monkeypatch):
    from django.db import OperationalError

    def full(*_args, **_options):
        raise OperationalError("no space left on device")

    monkeypatch.setattr(type(CachedAnswer.objects.all()), "bulk_create", full)

    assert "30 days" in ask(tenant).answer


def test_the_search_is_spared_by_a_hit(tenant, known, monkeypatch):
    from chat.answering import steps

    ask(tenant)
    monkeypatch.setattr(steps, "search", lambda **_: pytest.fail("searched"))

    assert ask(tenant).is_cached


def test_many_at_once_keep_one_answer(tenant, known):
    messages = [services.ask(tenant=tenant, question=QUESTION, user_id=f"u{number}") for number in range(12)]

    @in_own_session
    def answer(message):
        tasks.answer_message_task(message_id=str(message.pk))

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(answer, messages))

    assert len(set(Message.objects.values_list("answer", "state"))) == 1
    assert CachedAnswer.objects.count() == 1
