"""``manage.py create_api_key``."""

import json
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from tenants.errors import ScopeInvalidError
from tenants.models import APIKey
from tenants.services import create_api_key, create_operator_key, create_tenant

pytestmark = pytest.mark.django_db


def run(*arguments):
    out = StringIO()
    call_command("create_api_key", *arguments, stdout=out, stderr=StringIO())
    return out.getvalue().strip()


@pytest.fixture
def tenant():
    return create_tenant(slug="demo")


def test_it_prints_a_key_that_works_with_every_scope(tenant):
    key = APIKey.objects.find(run("--tenant", "demo", "--name", "server"))

    assert (key.tenant, key.name, set(key.scopes)) == (tenant, "server", {"query", "sources", "tasks", "admin"})


def test_it_gives_only_the_scopes_that_are_named(tenant):
    printed = json.loads(run("--tenant", "demo", "--name", "widget", "--scope", "query", "--json"))

    assert printed["scopes"] == ["query"]
    assert APIKey.objects.find(printed["key"]).scopes == ["query"]


def test_an_operators_key_belongs_to_no_tenant(db):
    key = APIKey.objects.find(run("--operator", "--name", "platform"))

    assert (key.tenant, key.is_operator, key.scopes) == (None, True, [])


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--tenant", "nobody", "--name", "x"], "no tenant"),
        (["--tenant", "demo", "--name", "x", "--scope", "everything"], "Unknown scope: everything"),
        (["--operator", "--name", "x", "--scope", "query"], "no scopes"),
        (["--name", "x"], "required"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(tenant, arguments, reason):
    with pytest.raises(CommandError, match=reason):
        run(*arguments)


def test_a_scope_that_does_not_exist_is_refused(tenant):
    with pytest.raises(ScopeInvalidError):
        create_api_key(tenant=tenant, name="x", scopes=["query", "root"])


def test_a_key_of_an_inactive_tenant_is_refused_but_an_operators_is_not(tenant):
    _key, text = create_api_key(tenant=tenant, name="x")
    tenant.is_active = False
    tenant.save(update_fields=["is_active"])

    assert APIKey.objects.find(text) is None
    assert APIKey.objects.find(create_operator_key(name="platform")[1]) is not None
