from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from knowledge import vector_index
from tenants.models import Tenant


class Command(BaseCommand):
    help = (
        "Build the vector index of each tenant with more passages than SEARCH_EXACT_MAX_CHUNKS, and drop indexes that "
        "no longer serve. Neither blocks searching or crawling. Run it again when tenants have grown."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--tenant", help="only this tenant's, by its slug, whatever its size")

    def handle(self, *args: Any, tenant: str | None, **options: Any) -> None:
        if tenant is None:
            for index in vector_index.drop_unused():
                self.stdout.write(f"{index}: dropped")
        for owner, dimensions in self._tenants(tenant):
            built = vector_index.build(owner, dimensions)
            self.stdout.write(f"{owner.slug}: {'built' if built else 'there already'}")

    def _tenants(self, slug: str | None) -> list[tuple[Tenant, int]]:
        if slug is None:
            return vector_index.large_tenants(settings.SEARCH_EXACT_MAX_CHUNKS)
        found = [pair for pair in vector_index.large_tenants(0) if pair[0].slug == slug]
        if not found:
            raise CommandError(f"There is no tenant “{slug}” with vectors of the current model.")
        return found
