from typing import Any

from django.core.management.base import BaseCommand

from knowledge import large_tenants
from knowledge.text_search import EXACT_MAX_CHUNKS


class Command(BaseCommand):
    help = (
        "Build the vector index of each tenant with more passages than SEARCH_EXACT_MAX_CHUNKS and the word index of "
        f"those with more than {EXACT_MAX_CHUNKS:,}, and drop indexes that no longer serve. The schedule does the "
        "same; neither blocks searching or crawling."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        dropped, built = large_tenants.maintain_indexes()
        for index in dropped:
            self.stdout.write(f"{index}: dropped")
        for index in built:
            self.stdout.write(f"{index}: built")
        if not dropped and not built:
            self.stdout.write("Nothing to build or drop, or another process is at it.")
