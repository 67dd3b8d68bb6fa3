from typing import Any

from django.core.management.base import BaseCommand

from knowledge import vector_index


class Command(BaseCommand):
    help = (
        "Build the vector index of each tenant with more passages than SEARCH_EXACT_MAX_CHUNKS, and drop indexes that "
        "no longer serve. The schedule does the same; neither blocks searching or crawling."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        dropped, built = vector_index.maintain()
        for index in dropped:
            self.stdout.write(f"{index}: dropped")
        for index in built:
            self.stdout.write(f"{index}: built")
