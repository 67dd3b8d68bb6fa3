import pytest
from django.db import connection
from django.utils import timezone

from knowledge import indexing, text_search, vector_search, word_sample
from knowledge.models import Chunk, Document
from tenants.models import Tenant
from tenants.services import create_tenant

COUNT = 1500


def make_tenant(slug: str, texts: list[str]) -> Tenant:
    tenant = create_tenant(slug=slug)
    document = Document.objects.create(tenant=tenant, url=f"https://{slug}.example/", fetched_at=timezone.now())
    chunks = []
    for number, text in enumerate(texts):
        literal, count = indexing.search_vector(title="", heading_path="", content=text)
        chunks.append(
            Chunk(
                tenant=tenant,
                document=document,
                chunk_index=number,
                content=text,
                search_vector=literal,
                word_count=count,
            )
        )
    Chunk.objects.bulk_create(chunks, batch_size=500)
    return tenant


@pytest.fixture
def large(db, monkeypatch):
    """A tenant above the limit: every passage says "printer", one in ten "paper", one "zebra"."""
    monkeypatch.setattr(text_search, "EXACT_MAX_CHUNKS", 100)
    texts = [f"printer number{number} {'paper' if number % 10 == 0 else 'ink'}" for number in range(COUNT)]
    texts[777] += " zebra"
    make_tenant("stranger", ["printer paper zebra"] * 50)
    return make_tenant("large", texts)


def texts_of(hits: text_search.WordHits) -> list[str]:
    contents = dict(Chunk.objects.filter(pk__in=hits.scores).values_list("pk", "content"))
    return [contents[pk] for pk in hits.scores]


def test_in_a_large_tenant_the_rare_word_leads_and_the_frequent_one_fills_up(large):
    found = texts_of(text_search.find(tenant=large, terms=["printer", "zebra"]))

    assert found[0].endswith("zebra")
    assert len(found) >= text_search.ENOUGH


def test_in_a_large_tenant_a_word_that_is_everywhere_still_finds_as_many_as_an_answer_wants(large):
    hits = text_search.find(tenant=large, terms=["printer"])

    assert len(hits.scores) >= text_search.ENOUGH
    assert all("printer" in text for text in texts_of(hits))
    assert not set(hits.scores) & set(Chunk.objects.exclude(tenant=large).values_list("pk", flat=True))


def test_in_a_large_tenant_passages_with_both_words_come_before_those_with_one(large):
    found = texts_of(text_search.find(tenant=large, terms=["printer", "paper"]))

    assert all(text.endswith("paper") for text in found[:10])


def test_a_large_tenants_size_is_estimated_and_a_word_it_lacks_weighs_most(large):
    hits = text_search.find(tenant=large, terms=["printer", "nowhere"])

    assert COUNT / 2 < hits.chunks < COUNT * 2
    assert hits.coverage(["printer"]) < 0.1


def scans_of_the_whole_table() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT seq_scan FROM pg_stat_xact_user_tables WHERE relname = 'tenant_knowledge'")
        return int(cursor.fetchone()[0])


def test_however_few_tenants_share_the_table_it_is_not_read_whole_for_one(db):
    """Each has half of it; a statement that is planned once is planned for any of them."""
    tenant, _other = [make_tenant(slug, [f"printer number{number}" for number in range(300)]) for slug in ("a", "b")]
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE tenant_knowledge")
    before = scans_of_the_whole_table()

    assert text_search.find(tenant=tenant, terms=["printer", "number7"]).chunks == 300
    assert vector_search.nearest(tenant=tenant, vector=[1.0, 2.0], model="stand-in/1", chunks=300) == {}

    assert scans_of_the_whole_table() == before


def test_words_that_follow_each_other_as_in_the_question_count_more_than_apart(db):
    texts = ["red apples and a green car", "a red car and green apples", "filler one", "filler two"]
    tenant = make_tenant("pairs", texts)

    assert texts_of(text_search.find(tenant=tenant, terms=["red", "car"]))[0] == texts[1]
    assert texts_of(text_search.find(tenant=tenant, terms=["green", "car"]))[0] == texts[0]


def test_in_a_large_tenant_a_passage_with_all_words_is_found_wherever_it_stands(db, monkeypatch):
    """Each word alone is in more passages than are read."""
    monkeypatch.setattr(text_search, "EXACT_MAX_CHUNKS", 100)
    monkeypatch.setattr(text_search, "READ_MAX", 50)
    texts = [f"{('red', 'green', 'blue')[number % 3]} number{number}" for number in range(COUNT)]
    texts[-1] = "red and green"
    tenant = make_tenant("scattered", texts)

    assert texts_of(text_search.find(tenant=tenant, terms=["green", "red"]))[0] == texts[-1]


def test_in_a_large_tenant_a_rare_word_weighs_what_it_would_if_all_were_counted(large):
    hits = text_search.find(tenant=large, terms=["zebra", "nowhere", "printer"])

    assert hits.idf["zebra"] == text_search.idf_of(hits.chunks, 1)
    assert hits.idf["nowhere"] == text_search.idf_of(hits.chunks, 0)


def test_what_a_large_tenants_words_weigh_is_kept_for_the_next_questions(large, django_assert_num_queries):
    with django_assert_num_queries(
        6
    ):  # its size, sample, own index, holders of "zebra", those with it, others to fill up
        first = text_search.find(tenant=large, terms=["printer", "zebra"])
    with django_assert_num_queries(2):
        again = text_search.find(tenant=large, terms=["printer", "zebra"])

    assert again == first


def test_a_large_tenant_that_has_shrunk_is_searched_as_a_small_one_in_time(large, monkeypatch):
    text_search.find(tenant=large, terms=["printer"])
    Chunk.objects.filter(tenant=large).exclude(content__contains="zebra").delete()
    monkeypatch.setattr(word_sample, "KEPT_SECONDS", 0.0)

    assert text_search.find(tenant=large, terms=["zebra"]).chunks == 1


def test_a_question_without_words_tells_the_size_alone(large):
    hits = text_search.find(tenant=large, terms=[])

    assert hits.scores == {}
    assert hits.chunks > 0


@pytest.mark.parametrize("weight", [0.0, 2.0, 3.5, 5.0])
def test_the_query_for_a_weight_admits_just_the_combinations_that_reach_it(weight):
    terms = [("a", 3.0), ("b", 2.0), ("c", 1.0)]
    query = text_search._at_least(weight, terms).replace("&", "and").replace("|", "or")

    for chosen in range(1, 8):
        held = {term: bool(chosen >> place & 1) for place, (term, _own) in enumerate(terms)}
        asked = query
        for term, is_held in held.items():
            asked = asked.replace(f"'{term}'", str(is_held))
        reaches = sum(own for term, own in terms if held[term]) >= weight
        assert eval(asked) == reaches, asked  # noqa: S307 -- made of True, False, and, or
