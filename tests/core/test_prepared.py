"""Statements that a session keeps prepared, on the real server."""

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models.functions import Now

from core.postgres import base, prepared
from core.postgres.standing import AnyRow
from tenants.models import Tenant
from tenants.services import create_tenant

pytestmark = pytest.mark.django_db(transaction=True)

FIND = "SELECT slug, slug LIKE '%%a%%', %(one)s::int + 1 FROM tenants_tenant WHERE slug = %(slug)s OR name = %(slug)s"


@pytest.fixture
def tenant():
    return create_tenant(slug="prepared")


def ask(sql, parameters=None):
    with connection.cursor() as cursor:
        prepared.execute(cursor, sql, parameters)
        return cursor.fetchall() if cursor.description else cursor.rowcount


def names():
    with connection.cursor() as cursor:
        cursor.execute("SELECT name FROM pg_prepared_statements")
        return {name for (name,) in cursor.fetchall()}


@pytest.fixture
def anew():
    """A session that has prepared nothing yet."""
    connection.close()
    base.sessions().close_idle()
    assert names() == set()


@pytest.mark.usefixtures("anew")
def test_a_statement_is_prepared_once_by_a_name_that_tells_what_it_does(tenant):
    for number in range(3):
        assert ask(FIND, {"slug": tenant.slug, "one": number}) == [(tenant.slug, "a" in tenant.slug, number + 1)]

    [name] = names()
    assert name.startswith("select_tenants_tenant_")


@pytest.mark.usefixtures("anew")
def test_a_statement_is_planned_once_whatever_its_values(tenant):
    ask(FIND, {"slug": tenant.slug, "one": 1})
    ask(FIND, {"slug": "another", "one": 2})

    with connection.cursor() as cursor:
        cursor.execute("SELECT generic_plans, custom_plans FROM pg_prepared_statements")
        assert cursor.fetchall() == [(2, 0)]


@pytest.mark.usefixtures("anew")
def test_several_statements_and_a_setting_go_in_one_round_trip(tenant):
    settled = "SELECT set_config('synchronous_commit', 'off', true)"
    both = ";".join([settled, FIND, "SELECT id FROM tenants_tenant WHERE id = %(id)s"])
    asked = {"slug": tenant.slug, "one": 1, "id": tenant.pk}

    assert ask(both, asked) == ask(both, asked) == [(tenant.pk,)]

    assert len(names()) == 2


@pytest.mark.usefixtures("anew")
def test_a_statement_that_fails_is_prepared_all_the_same(tenant):
    insert = "INSERT INTO tenants_tenant (id, slug) SELECT gen_random_uuid(), %s FROM tenants_tenant"
    for _ in range(2):
        with pytest.raises(IntegrityError), transaction.atomic():
            ask(insert, [tenant.slug])

    assert len(names()) == 1
    assert Tenant.objects.filter(slug=tenant.slug).count() == 1


@pytest.mark.usefixtures("anew")
def test_another_session_prepares_for_itself(tenant):
    ask(FIND, {"slug": tenant.slug, "one": 1})
    connection.close()
    base.sessions().close_idle()

    assert ask(FIND, {"slug": tenant.slug, "one": 1}) == [(tenant.slug, "a" in tenant.slug, 2)]
    assert len(names()) == 1


@pytest.mark.usefixtures("anew")
def test_behind_a_pooler_nothing_is_prepared(tenant, monkeypatch):
    """Its process is not the one that the session was opened with, as between two transactions of a real one."""
    monkeypatch.setattr(prepared, "_OF_WHOM", "SELECT pg_backend_pid() + 1")

    assert ask(FIND, {"slug": tenant.slug, "one": 1}) == [(tenant.slug, "a" in tenant.slug, 2)]
    assert ask("SELECT slug FROM tenants_tenant WHERE slug LIKE 'prepa%%'") == [(tenant.slug,)]
    assert names() == set()


@pytest.mark.usefixtures("anew")
def test_whether_there_is_any_row_is_asked_by_one_prepared_statement(tenant, django_assert_num_queries):
    is_there = AnyRow(lambda: Tenant.objects.filter(slug="100%"), lambda: Tenant.objects.filter(created_at__lte=Now()))
    is_not = AnyRow(lambda: Tenant.objects.filter(slug="100%"), lambda: Tenant.objects.filter(created_at__gt=Now()))
    assert (is_there.exists(), is_not.exists()) == (True, False)

    with django_assert_num_queries(2) as asked:
        assert (is_there.exists(), is_not.exists()) == (True, False)
    Tenant.objects.filter(pk=tenant.pk).update(slug="100%")

    assert (is_there.exists(), is_not.exists()) == (True, True)
    assert all(query["sql"].startswith("EXECUTE ") for query in asked.captured_queries)
