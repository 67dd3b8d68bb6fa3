import random
from contextlib import closing

import psycopg2
import pytest
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from knowledge import indexing, tasks, vector_index, vector_search
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
    words, _count = indexing.search_vector(title="", heading_path="", content="text")
    Chunk.objects.bulk_create(
        [
            Chunk(
                tenant=tenant,
                document=document,
                chunk_index=number,
                content=f"text {number}",
                content_hash=f"{slug}{number}",
                embedding=vector(),
                embedding_model=MODEL,
                search_vector=words,
            )
            for number in range(count)
        ],
        batch_size=1000,
    )
    return tenant


@pytest.fixture
def large(transactional_db, embedder, settings):
    """A tenant above the limit for exact search, among others that are below it."""
    settings.SEARCH_EXACT_MAX_CHUNKS = 1000
    for number in range(10):
        make_tenant(f"small{number}", 60)
    yield make_tenant("large", 2500)
    Chunk.objects.all().delete()
    vector_index.maintain()


def index_of(tenant: Tenant, model: str = MODEL) -> str:
    return vector_index.name(tenant, model, DIMENSIONS)


def nearest(tenant: Tenant, wanted: list[float], chunks: int = 2500) -> list[int]:
    return list(vector_search.nearest(tenant=tenant, vector=wanted, model=MODEL, chunks=chunks))


def index_scans() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_force_next_flush()")
        cursor.execute(
            "SELECT coalesce(sum(idx_scan), 0) FROM pg_stat_user_indexes WHERE starts_with(indexrelname, %s)",
            [vector_index.PREFIX],
        )
        return int(cursor.fetchone()[0])


def test_a_large_tenant_gets_an_index_by_itself_and_finds_by_it_what_comparing_all_finds(large):
    assert tasks.index_vectors_task() == {"dropped": [], "built": [index_of(large)]}
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE tenant_knowledge")
    foreign = set(Chunk.objects.exclude(tenant=large).values_list("pk", flat=True))

    hits = 0
    for _turn in range(30):
        wanted = vector()
        found, exact = nearest(large, wanted), nearest(large, wanted, chunks=1)
        assert len(found) == vector_search.CANDIDATES
        assert not foreign & set(found)
        hits += len(set(found[:5]) & set(exact[:5]))

    assert hits / 150 >= 0.99
    assert index_scans() > 0


def test_what_is_there_is_not_built_again_and_a_broken_one_is_replaced(large, capsys):
    call_command("index_vectors")
    call_command("index_vectors")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = to_regclass(%s)", [index_of(large)])
    assert vector_index.is_ready(large, MODEL, DIMENSIONS) is False
    call_command("index_vectors")

    assert capsys.readouterr().out.splitlines() == [f"{index_of(large)}: built"] * 2
    assert vector_index.is_ready(large, MODEL, DIMENSIONS) is True


def test_without_its_index_a_large_tenant_is_still_searched(large):
    assert len(nearest(large, vector())) == vector_search.CANDIDATES


def test_an_index_of_an_old_model_is_dropped(large, embedder):
    vector_index.maintain()
    embedder.model = "stand-in/2"

    assert vector_index.maintain() == ([index_of(large)], [])


def test_an_index_stays_until_its_tenant_is_far_below_the_limit(large, settings):
    vector_index.maintain()
    settings.SEARCH_EXACT_MAX_CHUNKS = 3000
    assert vector_index.maintain() == ([], [])

    settings.SEARCH_EXACT_MAX_CHUNKS = 6000
    assert vector_index.maintain() == ([index_of(large)], [])


def test_only_one_process_builds_at_a_time(large):
    with closing(psycopg2.connect(**connection.get_connection_params())) as other, other.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [vector_index.LOCK])
        assert vector_index.maintain() == ([], [])
        cursor.execute("SELECT pg_advisory_unlock_all()")  # closing gives it back too, but some time later

    assert vector_index.maintain() == ([], [index_of(large)])


def test_the_settings_of_an_index_scan_hold_for_one_search_only(large):
    vector_index.maintain()
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
