import random

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.utils import timezone

from knowledge import indexing, vector_index, vector_search
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
    vector_index.drop_unused()


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


def test_a_large_tenant_is_searched_by_its_own_index_as_well_as_by_comparing_all(large, capsys):
    call_command("index_vectors")
    assert capsys.readouterr().out == "large: built\n"
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


def test_building_again_finds_the_index_and_a_broken_one_is_replaced(large, capsys):
    call_command("index_vectors")
    call_command("index_vectors")
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = to_regclass(%s)",
            [vector_index.name(large, MODEL, DIMENSIONS)],
        )
    assert vector_index.is_ready(large, MODEL, DIMENSIONS) is False
    call_command("index_vectors", tenant="large")

    assert capsys.readouterr().out.splitlines() == ["large: built", "large: there already", "large: built"]
    assert vector_index.is_ready(large, MODEL, DIMENSIONS) is True


def test_without_its_index_a_large_tenant_is_still_searched(large):
    assert len(nearest(large, vector())) == vector_search.CANDIDATES


def test_the_index_of_a_tenant_that_is_gone_or_of_an_old_model_is_dropped(large, embedder, capsys):
    call_command("index_vectors")
    embedder.model = "stand-in/2"
    capsys.readouterr()

    call_command("index_vectors")

    assert capsys.readouterr().out == f"{vector_index.name(large, MODEL, DIMENSIONS)}: dropped\n"


def test_an_unknown_tenant_is_refused(db):
    with pytest.raises(CommandError, match="no tenant"):
        call_command("index_vectors", tenant="nobody")


def test_the_scan_setting_holds_for_one_transaction_only(db):
    def setting() -> str:
        with connection.cursor() as cursor:
            cursor.execute("SELECT setting FROM pg_settings WHERE name = 'hnsw.iterative_scan'")
            return cursor.fetchone()[0]

    with transaction.atomic():
        vector_index.prepare_scan()
        assert setting() == "strict_order"
        transaction.set_rollback(True)
    assert setting() == "off"


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
        vector_index.prepare_scan()
