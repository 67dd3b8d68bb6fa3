"""A tenant that already knows something, for benchmarks of answering."""

from django.utils import timezone

from bench import words
from knowledge import services
from tenants.models import Tenant
from tenants.services import create_api_key, create_tenant


def make_tenant(slug: str = "bench") -> tuple[Tenant, str]:
    """Return a new tenant that knows every page, and an API key of it."""
    tenant = create_tenant(slug=slug)
    store(tenant)
    return tenant, create_api_key(tenant=tenant, name="bench")[1]


def store(tenant: Tenant) -> None:
    """Make every page known to the tenant, as a crawl would."""
    for number in range(words.DEVICES):
        services.store_page(
            tenant=tenant,
            url=f"https://devices.example/{number}",
            title=words.title(number),
            language=words.language(number),
            content=words.markdown(number),
            fetched_at=timezone.now(),
        )
