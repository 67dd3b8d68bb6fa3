from typing import Any

from django.core.management.base import BaseCommand

from core import schedules


class Command(BaseCommand):
    help = "Create the periodic tasks that are missing; rows that exist stay as they are."

    def handle(self, *args: Any, **options: Any) -> None:
        for name in schedules.seed():
            self.stdout.write(f"created {name}")
