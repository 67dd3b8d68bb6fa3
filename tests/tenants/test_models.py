import pytest

from tenants import services
from tenants.errors import TenantExistsError, TenantInvalidError
from tenants.models import APIKey

pytestmark = pytest.mark.django_db


@pytest.fixture
def tenant():
    return services.create_tenant(slug="acme")


def test_a_key_is_found_by_its_text_and_only_its_hash_is_stored(tenant):
    key, text = services.create_api_key(tenant=tenant, name="server")

    assert APIKey.objects.find(text) == key
    secret = text.partition(".")[2]
    assert secret not in str(APIKey.objects.filter(pk=key.pk).values().get())


def test_a_revoked_key_is_refused_at_once(tenant):
    key, text = services.create_api_key(tenant=tenant, name="server")

    key.revoke()

    assert APIKey.objects.find(text) is None


def test_the_key_of_an_inactive_tenant_is_refused(tenant):
    _key, text = services.create_api_key(tenant=tenant, name="server")
    tenant.is_active = False
    tenant.save(update_fields=["is_active"])

    assert APIKey.objects.find(text) is None


@pytest.mark.parametrize("bad", ["", " ", ".", "pk_", "pk_.", "pk_x.y", "کلید", "\ud800", "a" * 10_000, "pk_\x00.x"])
def test_a_malformed_key_is_not_found_and_raises_nothing(tenant, bad):
    assert APIKey.objects.find(bad) is None


def test_a_known_id_with_a_wrong_secret_is_refused(tenant):
    _key, text = services.create_api_key(tenant=tenant, name="server")

    assert APIKey.objects.find(text[:-1]) is None
    assert APIKey.objects.find(text.partition(".")[0] + ".") is None


def test_create_tenant_names_a_clash_and_a_bad_slug(tenant):
    with pytest.raises(TenantExistsError):
        services.create_tenant(slug="acme")
    with pytest.raises(TenantInvalidError):
        services.create_tenant(slug="Not a slug!")
