import logging
import random

import pytest

from knowledge import tasks
from knowledge.errors import EmbeddingUnavailableError
from knowledge.models import Chunk, Document
from knowledge.search import fuse, search
from tenants.services import create_tenant
from tests.sessions import at_once

URL = "https://example.com/"


@pytest.fixture
def learn(store, embedder):
    """Store a page and make its vectors."""

    def learn(tenant, url, content, **kwargs):
        document = store(tenant, url, content, **kwargs)
        tasks.sync_embeddings_task(document_id=str(document.pk))
        return document

    return learn


def urls(passages) -> list[str]:
    return [passage.url for passage in passages]


def test_a_page_is_found_by_its_words_the_moment_it_is_stored(store, tenant, embedder):
    document = store(tenant, URL, "# Guide\n\n## Pay\n\nYou may pay by card.", title="Guide")
    store(tenant, URL + "other", "Something else.")

    (found,) = search(tenant=tenant, query="paying with cards?")

    assert (found.url, found.title, found.heading_path) == (URL, "Guide", "Guide › Pay")
    assert (found.content, found.document_id) == ("You may pay by card.", document.pk)
    assert found.fetched_at == document.fetched_at
    assert found.cosine is None
    assert found.score > 0


@pytest.mark.parametrize("query", ["كتاب‌هاي تازه", "کتابهای تازه", "کتاب هایی تازه؟", "کِتابِ تازه"])
def test_every_spelling_of_a_persian_question_finds_the_page(store, tenant, embedder, query):
    embedder.error = EmbeddingUnavailableError("away")
    store(tenant, URL, "کتاب‌های تازه هر شنبه می‌رسند.")
    store(tenant, URL + "other", "نان تازه هر روز می‌رسد.")

    assert urls(search(tenant=tenant, query=query))[0] == URL


def test_a_page_that_has_no_vectors_yet_is_not_behind_those_that_have(learn, store, tenant, embedder):
    """As while a site is being embedded: the page that holds the answer is one of the last."""
    for number in range(30):
        learn(tenant, f"{URL}{number}", f"Which key opens door {number}, revoked or not, is told at the gate.")
    store(tenant, URL, "A revoked API key is refused.")

    found = search(tenant=tenant, query="What happens to a revoked API key?")

    assert urls(found)[0] == URL
    assert found[0].cosine is None
    assert found[1].cosine is not None


def test_a_page_without_a_common_word_is_found_by_meaning(learn, tenant):
    learn(tenant, URL, "abab")

    (found,) = search(tenant=tenant, query="baba")

    assert found.cosine == pytest.approx(1, abs=0.05)
    assert found.coverage == 0


def test_another_tenants_page_is_never_found(learn, tenant, stranger):
    learn(stranger, URL, "the secret canary")

    assert search(tenant=tenant, query="secret canary") == []

    learn(tenant, URL + "mine", "my page")
    assert urls(search(tenant=tenant, query="secret canary")) == [URL + "mine"]


def test_search_works_on_words_alone_while_the_model_fails_and_says_so_once(learn, tenant, embedder, caplog):
    learn(tenant, URL, "pay by card")
    embedder.error = EmbeddingUnavailableError("The model is away.")

    with caplog.at_level(logging.INFO, logger="knowledge.search"):
        assert urls(search(tenant=tenant, query="card")) == [URL]
        assert search(tenant=tenant, query="card")[0].cosine is None
        embedder.error = None
        assert search(tenant=tenant, query="card")[0].cosine is not None

    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_a_tenant_is_searched_with_the_model_that_made_its_vectors_whatever_the_settings_say(learn, tenant, embedder):
    learn(tenant, URL, "abab")
    embedder.model, embedder.previous = "stand-in/2", {"stand-in/1"}

    assert search(tenant=tenant, query="baba")[0].cosine is not None


def test_a_tenant_whose_model_is_nowhere_to_be_had_is_searched_by_words(learn, tenant, embedder):
    learn(tenant, URL, "abab")
    embedder.model = "stand-in/2"

    assert search(tenant=tenant, query="baba") == []
    assert search(tenant=tenant, query="abab")[0].cosine is None


def test_vectors_of_another_length_are_not_compared(learn, tenant, store, embedder):
    learn(tenant, URL, "abab")
    Chunk.objects.update(embedding=[1.0, 0.0])

    assert search(tenant=tenant, query="baba") == []
    assert search(tenant=tenant, query="abab")[0].cosine is None


def test_coverage_is_the_share_of_the_questions_words_rare_ones_weighing_more(store, tenant, embedder):
    for n in range(9):
        store(tenant, f"{URL}{n}", f"common words number{n}")
    store(tenant, URL + "rare", "common zebra")

    by_url = {passage.url: passage for passage in search(tenant=tenant, query="common zebra unheard", limit=20)}

    rare, common = by_url[URL + "rare"].coverage, by_url[URL + "0"].coverage
    assert 0 < common < 0.1
    assert 0.3 < rare < 0.6
    assert search(tenant=tenant, query="zebra")[0].coverage == 1
    assert search(tenant=tenant, query="common unheard of")[0].coverage < 0.1


def test_a_word_in_the_title_or_a_heading_counts(store, tenant, embedder):
    store(tenant, URL + "text", "Other things, and invoices among them, are handled in the usual way by us.")
    store(tenant, URL + "heading", "# Invoices\n\nThey are handled in the usual way by us, with all the other things.")

    assert urls(search(tenant=tenant, query="invoice"))[0] == URL + "heading"


def test_equal_text_is_given_once(learn, tenant):
    for n in range(3):
        learn(tenant, f"{URL}{n}", "the same text")
    learn(tenant, URL + "other", "another text")

    assert len(search(tenant=tenant, query="same text")) == 2


def test_the_limit_holds_and_scores_fall(learn, tenant):
    for n in range(12):
        learn(tenant, f"{URL}{n}", f"text {n} " * (n + 1))

    found = search(tenant=tenant, query="text", limit=5)

    assert len(found) == 5
    assert [passage.score for passage in found] == sorted((passage.score for passage in found), reverse=True)


@pytest.mark.parametrize(
    "query",
    ["", " ", "؟", "'; DROP TABLE x; --", "a & b | !c", "\\'", "\x00", "\ud800", "%s %(x)s", "x" * 100_000, "()"],
)
def test_any_question_is_answered_without_error(learn, tenant, query):
    learn(tenant, URL, "text")

    assert isinstance(search(tenant=tenant, query=query), list)


def test_a_tenant_without_pages_has_no_passages(tenant, embedder):
    assert search(tenant=tenant, query="anything") == []


def test_search_takes_four_queries(learn, tenant, django_assert_num_queries):
    learn(tenant, URL, "text")

    with django_assert_num_queries(4):  # words, the tenant's model, vectors, the passages themselves
        search(tenant=tenant, query="text")


def test_fusing_puts_first_what_both_rankings_like_and_keeps_what_one_knows():
    fused = fuse({1: 9.0, 2: 8.0, 3: 1.0}, {2: 0.9, 4: 0.85, 1: 0.8})

    assert list(fused)[:2] == [2, 1]
    assert set(fused) == {1, 2, 3, 4}
    assert fuse({}, {}) == {}
    assert list(fuse({}, {5: 0.9})) == [5]


def test_fusing_lets_the_words_of_a_passage_without_a_vector_count_for_its_meaning():
    by_words, by_meaning = {1: 9.0, 2: 6.0}, {2: 0.9, 3: 0.8}

    assert next(iter(fuse(by_words, by_meaning))) == 2
    assert next(iter(fuse(by_words, by_meaning, {1}))) == 1


def make_tenant(slug: str, texts: list[str], vectors: list[list[float]]):
    """Rows as the sync leaves them, without its work."""
    from django.utils import timezone

    from knowledge import indexing

    tenant = create_tenant(slug=slug)
    document = Document.objects.create(tenant=tenant, url=f"https://{slug}.example/", fetched_at=timezone.now())
    Chunk.objects.bulk_create(
        Chunk(
            tenant=tenant,
            document=document,
            chunk_index=number,
            content=text,
            content_hash=indexing.digest(slug, text),
            embedding=vector,
            embedding_model="stand-in/1",
            search_vector=indexing.search_vector(title="", heading_path="", content=text)[0],
            word_count=len(text.split()),
        )
        for number, (text, vector) in enumerate(zip(texts, vectors, strict=True))
    )
    return tenant


def test_among_many_tenants_answers_are_never_foreign_never_short_and_never_miss_the_nearest(db, embedder, monkeypatch):
    chance = random.Random(5)
    vocabulary = [f"word{n}" for n in range(300)]
    tenants = [
        make_tenant(
            f"tenant{n}",
            [" ".join(chance.choices(vocabulary, k=30)) for _ in range(30)],
            [[chance.gauss(0, 1) for _ in range(8)] for _ in range(30)],
        )
        for n in range(40)
    ]

    for tenant in tenants:
        vector = [chance.gauss(0, 1) for _ in range(8)]
        monkeypatch.setattr("knowledge.embeddings.embed_query", lambda _text, vector=vector, **_model: vector)
        found = search(tenant=tenant, query=" ".join(chance.choices(vocabulary, k=4)))
        assert len(found) == 8
        assert {passage.url for passage in found} == {f"https://{tenant.slug}.example/"}
        nearest = search(tenant=tenant, query="unheardof", limit=5)
        assert [passage.chunk_id for passage in nearest] == brute_force(tenant, vector)[:5]


def brute_force(tenant, vector: list[float]) -> list[int]:
    def cosine(chunk: Chunk) -> float:
        own = chunk.embedding.tolist() if hasattr(chunk.embedding, "tolist") else list(chunk.embedding)
        product = sum(a * b for a, b in zip(own, vector, strict=True))
        return product / (sum(a * a for a in own) ** 0.5)

    return [chunk.pk for chunk in sorted(Chunk.objects.for_tenant(tenant), key=lambda chunk: -cosine(chunk))]


def test_searches_of_many_tenants_at_once_do_not_mix(transactional_db, embedder):
    tenants = [make_tenant(f"t{n}", [f"canary{n} shared words"], [[float(n + 1)] * 8]) for n in range(6)]
    foreign: list[str] = []

    def ask(seed: int) -> None:
        chance = random.Random(seed)
        for _turn in range(40):
            tenant = chance.choice(tenants)
            foreign.extend(p.url for p in search(tenant=tenant, query="shared canary") if tenant.slug not in p.url)

    at_once(4, ask)
    assert foreign == []


def test_the_real_model_finds_a_persian_and_an_english_answer(store, tenant):
    pages = {
        "a": "برای پرداخت می‌توانید از کارت بانکی یا کیف پول استفاده کنید.",
        "b": "فروشگاه ما روزهای جمعه تعطیل است.",
        "c": "Parcels arrive within three working days.",
        "d": "Passwords can be changed under Account settings.",
    }
    for name, content in pages.items():
        tasks.sync_embeddings_task(document_id=str(store(tenant, URL + name, content).pk))

    asked = {
        "چه روزی بسته‌اید؟": "b",
        "هزینه را چطور بدهم؟": "a",
        "How long does delivery take?": "c",
        "reset my login": "d",
    }
    for question, name in asked.items():
        assert urls(search(tenant=tenant, query=question))[0] == URL + name, question
