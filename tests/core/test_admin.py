import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import User
from django.urls import reverse

from tenants import services as tenants
from tenants.models import APIKey, Tenant

OWN_APPS = ("tenants", "knowledge", "crawl", "chat")
MODELS = [model for label in OWN_APPS for model in apps.get_app_config(label).get_models()]
DELETABLE = {"Membership"}

pytestmark = pytest.mark.django_db


@pytest.fixture
def operator(client):
    client.force_login(User.objects.create_superuser("root"))
    return client


@pytest.fixture
def tenant():
    return tenants.create_tenant(slug="acme", name="Acme")


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_model_has_a_list_in_both_languages_and_no_click_deletes_its_rows(operator, rf, model):
    page = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")

    assert operator.get(page).status_code == 200
    assert 'lang="fa"' in operator.get(page, headers={"accept-language": "fa"}).content.decode()
    request = rf.get("/")
    request.user = User.objects.get()
    assert admin.site._registry[model].has_delete_permission(request) == (model.__name__ in DELETABLE)


def test_the_admin_is_branded_and_needs_staff(operator, client):
    assert "پاسخ" in operator.get("/admin/").content.decode()
    client.force_login(User.objects.create_user("member"))
    assert client.get("/admin/")["Location"].startswith("/admin/login/")


def test_a_key_made_in_the_admin_shows_its_text_once_and_works(operator, tenant):
    form = {
        "tenant": str(tenant.pk),
        "name": "server",
        "scopes": ",".join(APIKey._meta.get_field("scopes").get_default()),
    }

    shown = operator.post(reverse("admin:tenants_apikey_add"), form, follow=True).content.decode()

    text = APIKey.FORM.search(shown)[0]
    key = APIKey.objects.find(text)
    assert (key.tenant, key.name) == (tenant, "server")
    page = reverse("admin:tenants_apikey_change", args=[key.pk])
    assert text.partition(".")[2] not in operator.get(page).content.decode()
    assert key.secret_hash not in operator.get(page).content.decode()


def test_a_key_is_revoked_in_the_admin_and_its_tenant_stays(operator, tenant):
    key, text = tenants.create_api_key(tenant=tenant, name="server")
    other = tenants.create_tenant(slug="other")
    page = reverse("admin:tenants_apikey_change", args=[key.pk])
    operator.post(page, {"name": "renamed", "tenant": str(other.pk), "is_operator": "on"})
    assert APIKey.objects.get().tenant == tenant

    operator.post(reverse("admin:tenants_apikey_changelist"), {"action": "revoke", "_selected_action": [str(key.pk)]})

    assert APIKey.objects.find(text) is None


def test_a_website_added_in_the_admin_is_checked_and_made_canonical(operator, tenant):
    from crawl.models import Website

    form = {
        "tenant": str(tenant.pk),
        "include_patterns": "[]",
        "exclude_patterns": "[]",
        "max_pages": 10,
        "max_depth": 5,
    }
    page = reverse("admin:crawl_website_add")

    refused = operator.post(page, form | {"root_url": "ftp://acme.example/"})
    assert refused.status_code == 200
    assert not Website.objects.exists()
    operator.post(page, form | {"root_url": "HTTPS://Acme.example/docs/../راهنما/"})

    assert Website.objects.get().root_url == "https://acme.example/%D8%B1%D8%A7%D9%87%D9%86%D9%85%D8%A7/"


def test_a_website_changed_in_the_admin_is_checked_and_tells_what_became_of_its_pages(operator, tenant):
    from crawl.models import Page
    from crawl.services import add_website

    website = add_website(tenant=tenant, url="https://acme.example/")
    Page.objects.create(tenant=tenant, website=website, url="https://acme.example/a", state="failed", reason="soft_404")
    page = reverse("admin:crawl_website_change", args=[website.pk])
    form = {"include_patterns": "[]", "max_pages": 10, "max_depth": 5, "crawl_every_hours": 24}

    refused = operator.post(page, form | {"content_selectors": '["div >"]'}).content.decode()
    operator.post(page, form | {"content_selectors": '["article"]'})

    website.refresh_from_db()
    assert "is not a CSS selector" in refused
    assert "failed answers like pages that do not exist: 1" in refused
    assert (website.content_selectors, website.crawl_every_hours) == (["article"], 24)
    assert website.next_crawl_at is not None


def test_a_tenant_keeps_its_slug(operator, tenant):
    page = reverse("admin:tenants_tenant_change", args=[tenant.pk])

    operator.post(page, {"name": "New", "slug": "stolen", "language": "fa", "time_zone": "UTC", "is_active": "on"})

    changed = Tenant.objects.get()
    assert (changed.slug, changed.name, changed.language) == ("acme", "New", "fa")


@pytest.mark.parametrize(("path", "status"), [("/nothing/", 404), ("/chat/00000000-0000-0000-0000-000000000000/", 302)])
def test_error_pages_speak_both_languages(client, path, status):
    assert client.get(path).status_code == status
    if status == 404:
        assert "این‌جا چیزی نیست" in client.get(path, headers={"accept-language": "fa"}).content.decode()
        assert "There is nothing here" in client.get(path).content.decode()


def test_the_page_of_a_bug_is_ours_in_both_languages(client, monkeypatch):
    from core.handbook import contents

    client.raise_request_exception = False
    monkeypatch.setattr(contents, "find", lambda *_: 1 / 0)

    response = client.get("/handbook/en/queues/", headers={"accept-language": "fa"})

    assert response.status_code == 500
    assert "مشکلی از سوی ما پیش آمد" in response.content.decode()
    assert "ZeroDivision" not in response.content.decode()


def test_log_in_and_out_in_persian(client):
    User.objects.create_user("mina", password="pw")
    client.cookies["django_language"] = "fa"

    wrong = client.post("/login/", {"username": "mina", "password": "no"}).content.decode()
    right = client.post("/login/", {"username": "mina", "password": "pw"})

    assert 'role="alert"' in wrong
    assert "نام یا گذرواژه درست نیست" in wrong
    assert right["Location"] == "/"
    assert client.post("/logout/")["Location"] == "/login/"


def test_the_language_switch_keeps_the_page_and_does_not_leave_the_host(client):
    switched = client.post("/i18n/setlang/", {"language": "fa", "next": "/handbook/fa/"})
    assert switched["Location"] == "/handbook/fa/"
    assert switched.cookies["django_language"].value == "fa"
    assert client.post("/i18n/setlang/", {"language": "fa", "next": "https://evil.example/"})["Location"] == "/"
