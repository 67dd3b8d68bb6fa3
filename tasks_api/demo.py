"""The demo tenant: the product's own handbook as its website, one login, one key."""

import contextlib
from pathlib import Path

from django.contrib.auth import get_user_model
from django.contrib.auth.models import User

from crawl import services as crawl_services
from crawl.errors import CrawlAlreadyActiveError
from tenants import services as tenant_services
from tenants.models import APIKey, Membership, Tenant

SLUG = USERNAME = "demo"
NAME = "Pasokh Handbook"


def ensure_demo(*, url: str, password: str, key_file: Path) -> Tenant:
    """Make what is missing of the demo tenant and have the website at ``url`` crawled; a second call only re-crawls.

    The key's text is kept in ``key_file``, readable by its owner only, because it is shown at every start.
    """
    tenant = Tenant.objects.filter(slug=SLUG).first() or tenant_services.create_tenant(slug=SLUG, name=NAME)
    tenant_services.add_member(tenant=tenant, user=_ensure_user(password), role=Membership.Role.OWNER)
    _ensure_key(tenant, key_file)
    website = crawl_services.add_website(tenant=tenant, url=url, name=NAME)
    with contextlib.suppress(CrawlAlreadyActiveError):  # an earlier start's crawl goes on
        crawl_services.start_crawl(website=website)
    return tenant


def _ensure_user(password: str) -> User:
    user, created = get_user_model().objects.get_or_create(
        username=USERNAME, defaults={"is_staff": True, "is_superuser": True}
    )
    if created:
        user.set_password(password)
        user.save(update_fields=["password"])
    return user


def _ensure_key(tenant: Tenant, key_file: Path) -> None:
    kept = key_file.read_text().strip() if key_file.exists() else ""
    found = APIKey.objects.find(kept)
    if found is not None and found.tenant == tenant:
        return
    _key, text = tenant_services.create_api_key(tenant=tenant, name="demo")
    key_file.unlink(missing_ok=True)
    key_file.touch(mode=0o600)
    key_file.write_text(text + "\n")
