import json
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from tenants.models import APIKey, Tenant

pytestmark = pytest.mark.django_db


def run(*arguments):
    out = StringIO()
    call_command("create_tenant", *arguments, stdout=out, stderr=StringIO())
    return out.getvalue()


def test_a_tenant_comes_with_a_key_that_works():
    shown = json.loads(run("acme", "--name", "شرکت آکمه", "--language", "fa", "--json"))

    assert APIKey.objects.find(shown["api_key"]).tenant == Tenant.objects.get(slug="acme", name="شرکت آکمه")


def test_people_see_the_key_once_on_a_line_of_its_own():
    key = run("acme").splitlines()[-1]

    assert APIKey.objects.find(key)


def test_a_clash_is_one_clear_line_and_leaves_nothing():
    run("acme")
    for arguments in (["acme"], ["Not a slug!"]):
        with pytest.raises(CommandError):
            run(*arguments)
    assert Tenant.objects.count() == APIKey.objects.count() == 1
