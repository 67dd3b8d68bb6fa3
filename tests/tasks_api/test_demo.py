import stat

import pytest

from crawl.models import CrawlRun, Website
from tasks_api import demo
from tenants.models import APIKey, Membership, Tenant

pytestmark = pytest.mark.django_db

URL = "http://127.0.0.1:7001/handbook/"


@pytest.fixture
def make_demo(tmp_path, settings):
    settings.OUTBOUND_ALLOWED_HOSTS = ["127.0.0.1:7001"]
    return lambda url=URL: demo.ensure_demo(url=url, password="only-for-tests", key_file=tmp_path / "demo-api-key")


def test_demo_has_a_tenant_a_login_a_key_and_a_crawl(make_demo, tmp_path, client):
    tenant = make_demo()

    assert (tenant.slug, tenant.name) == ("demo", "Pasokh Handbook")
    assert client.login(username="demo", password="only-for-tests")
    assert Membership.objects.get().tenant == tenant
    assert APIKey.objects.find((tmp_path / "demo-api-key").read_text().strip()).tenant == tenant
    assert stat.S_IMODE((tmp_path / "demo-api-key").stat().st_mode) == 0o600
    assert CrawlRun.objects.get().website == Website.objects.get()


def test_demo_made_twice_is_one_demo_with_the_same_key(make_demo, tmp_path):
    make_demo()
    key = (tmp_path / "demo-api-key").read_text()

    make_demo()

    assert (tmp_path / "demo-api-key").read_text() == key
    assert Tenant.objects.count() == Website.objects.count() == APIKey.objects.count() == CrawlRun.objects.count() == 1


def test_demo_replaces_a_key_that_was_revoked(make_demo, tmp_path):
    make_demo()
    APIKey.objects.get().revoke()

    make_demo()

    assert APIKey.objects.find((tmp_path / "demo-api-key").read_text().strip()) is not None


def test_demo_keeps_a_password_that_its_user_has_changed(make_demo, django_user_model, client):
    make_demo()
    user = django_user_model.objects.get()
    user.set_password("changed")
    user.save()

    make_demo()

    assert client.login(username="demo", password="changed")
