from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from tasks_api import demo


class Command(BaseCommand):
    help = "Make the demo tenant, its login and its API key, and crawl its website."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--url", required=True, help="the website to answer from")
        parser.add_argument("--password", required=True, help="of the user demo")
        parser.add_argument("--key-file", type=Path, required=True, help="where the API key is kept")

    def handle(self, *args: Any, **options: Any) -> None:
        demo.ensure_demo(url=options["url"], password=options["password"], key_file=options["key_file"])
