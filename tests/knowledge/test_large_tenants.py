import random
from contextlib import closing

import psycopg2
import pytest
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from knowledge import (
    indexing,
    large_tenants,
    tasks,
    text_search,
    vector_index,
    vector_search,
    word_index,
    word_sample,
)
from knowledge.errors import VectorIndexError
from knowledge.models import Chunk, Document
from tenants.models import Tenant
from tenants.services import create_tenant

MODEL, DIMENSIONS = "stand-in/1", 16
CHANCE = random.Random(11)


def vector() -> list[float]:
    return [CHANCE.gauss(0, 1) for _ in range(DIMENSIONS)]


def make_tenant(slug: str, count: int) -> Tenant:
    tenant = create_tenant(slug=slug)
    document = Document.objects.create(tenant=tenant, url=f"https://{slug}.example/", fetched_at=timezone.now())
    texts = [f"text number{number % 50} {'odd' if number % 2 else 'even'}" for number in range(count)]
    Chunk.objects.bulk_create(
        [
            Chunk(
                tenant=tenant,
                document=document,
                chunk_index=number,
                content=text,
                content_hash=f"{slug}{number}",
                embedding=vector(),
                embedding_model=MODEL,
                search_vector=indexing.search_vector(title="", heading_path="", content=text)[0],
            )
            for number, text in enumerate(texts)
        ],
        batch_size=1000,
    )
    return tenant


@pytest.fixture
def large(transactional_db, embedder, settings, monkeypatch):
    """A tenant above the limit for exact search, among others that are below it."""
    settings.SEARCH_EXACT_MAX_CHUNKS = 1000
    monkeypatch.setattr(text_search, "EXACT_MAX_CHUNKS", 1000)
    for number in range(10):
        make_tenant(f"small{number}", 60)
    yield make_tenant("large", 2500)
    Chunk.objects.all().delete()
    large_tenants.maintain_indexes()


def index_of(tenant: Tenant) -> str:
    return vector_index.name(tenant, MODEL, DIMENSIONS)


def words_of(tenant: Tenant) -> str:
    return word_index.name(str(tenant.pk))


def nearest(tenant: Tenant, wanted: list[float], chunks: int = 2500) -> list[int]:
    return list(vector_search.nearest(tenant=tenant, vector=wanted, model=MODEL, chunks=chunks))


def index_scans(name: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_force_next_flush()")
        cursor.execute("SELECT coalesce(sum(idx_scan), 0) FROM pg_stat_user_indexes WHERE indexrelname = %s", [name])
        return int(cursor.fetchone()[0])


def test_a_large_tenant_gets_an_index_by_itself_and_finds_by_it_what_comparing_all_finds(large):
    assert tasks.index_vectors_task() == {"dropped": [], "built": [words_of(large), index_of(large)]}
    foreign = set(Chunk.objects.exclude(tenant=large).values_list("pk", flat=True))

    hits = 0
    for _turn in range(30):
        wanted = vector()
        found, exact = nearest(large, wanted), nearest(large, wanted, chunks=1)
        assert len(found) == vector_search.CANDIDATES
        assert not foreign & set(found)
        hits += len(set(found[:5]) & set(exact[:5]))

    assert hits / 150 >= 0.99
    assert index_scans(index_of(large)) > 0


def test_a_large_tenants_words_are_found_in_its_own_index_as_in_the_one_that_all_share(large, monkeypatch):
    terms = ["odd", "number17", "nowhere"]
    shared = text_search.find(tenant=large, terms=terms)
    large_tenants.maintain_indexes()
    assert text_search.find(tenant=large, terms=terms) == shared
    assert index_scans(words_of(large)) == 0
    monkeypatch.setattr(word_sample, "KEPT_SECONDS", 0.0)

    own = text_search.find(tenant=large, terms=terms)

    assert own == shared
    assert index_scans(words_of(large)) > 0
    assert not set(own.scores) & set(Chunk.objects.exclude(tenant=large).values_list("pk", flat=True))


def test_a_large_tenant_whose_word_index_has_just_gone_is_still_searched(large, monkeypatch):
    large_tenants.maintain_indexes()
    found = text_search.find(tenant=large, terms=["number17"])
    monkeypatch.setattr(text_search, "EXACT_MAX_CHUNKS", 6000)
    assert large_tenants.maintain_indexes() == ([words_of(large)], [])

    assert text_search.find(tenant=large, terms=["number17"]) == found


def test_what_is_there_is_not_built_again_and_a_broken_one_is_replaced(large, capsys):
    call_command("index_vectors")
    call_command("index_vectors")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = to_regclass(%s)", [index_of(large)])
    assert vector_index.is_ready(large, MODEL, DIMENSIONS) is False
    call_command("index_vectors")

    words, vectors = f"{words_of(large)}: built", f"{index_of(large)}: built"
    nothing = "Nothing to build or drop, or another process is at it."
    assert capsys.readouterr().out.splitlines() == [words, vectors, nothing, vectors]
    assert vector_index.is_ready(large, MODEL, DIMENSIONS) is True


def test_without_its_index_a_large_tenant_is_still_searched(large):
    assert len(nearest(large, vector())) == vector_search.CANDIDATES


def test_an_index_of_an_old_model_is_dropped(large, embedder):
    large_tenants.maintain_indexes()
    embedder.model = "stand-in/2"

    assert large_tenants.maintain_indexes() == ([index_of(large)], []), "the words are the same"


def test_an_index_stays_until_its_tenant_is_far_below_the_limit(large, settings, monkeypatch):
    large_tenants.maintain_indexes()
    settings.SEARCH_EXACT_MAX_CHUNKS = 3000
    monkeypatch.setattr(text_search, "EXACT_MAX_CHUNKS", 4000)
    assert large_tenants.maintain_indexes() == ([], [])

    settings.SEARCH_EXACT_MAX_CHUNKS = 6000
    assert large_tenants.maintain_indexes() == ([index_of(large)], [])

    monkeypatch.setattr(text_search, "EXACT_MAX_CHUNKS", 6000)
    assert large_tenants.maintain_indexes() == ([words_of(large)], [])


def test_only_one_process_builds_at_a_time(large):
    with closing(psycopg2.connect(**connection.get_connection_params())) as other, other.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [large_tenants.LOCK])
        assert large_tenants.maintain_indexes() == ([], [])
        cursor.execute("SELECT pg_advisory_unlock_all()")  # closing gives it back too, but some time later

    assert large_tenants.maintain_indexes() == ([], [words_of(large), index_of(large)])


def test_the_settings_of_an_index_scan_hold_for_one_search_only(large):
    large_tenants.maintain_indexes()
    nearest(large, vector())

    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('hnsw.iterative_scan'), current_setting('enable_sort')")
        assert cursor.fetchone() == ("off", "on")


def test_a_pgvector_without_iterative_scans_is_named(db, monkeypatch):
    class OldServer:
        def __enter__(self):
            return self

        def __exit__(self, *exc: object) -> None:
            pass

        def execute(self, statement: str, parameters: object = None) -> None:
            pass

        def fetchone(self) -> None:
            return None

    monkeypatch.setattr(connection, "cursor", OldServer)
    with pytest.raises(VectorIndexError, match=r"0\.8"):
        vector_index.check_server()
