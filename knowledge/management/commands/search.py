import dataclasses
import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from knowledge.search import Passage, search
from tenants.models import Tenant


class Command(BaseCommand):
    help = "Show the passages a question finds, best first, and why: score, cosine and share of its words."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("question")
        parser.add_argument("--tenant", required=True, help="the tenant's slug")
        parser.add_argument("--limit", type=int, default=8)
        parser.add_argument("--json", action="store_true", help="print one line of JSON")

    def handle(self, *args: Any, question: str, tenant: str, limit: int, json: bool, **options: Any) -> None:
        owner = Tenant.objects.filter(slug=tenant).first()
        if owner is None:
            raise CommandError(f"There is no tenant “{tenant}”.")
        passages = search(tenant=owner, query=question, limit=max(limit, 1))
        self.stdout.write(_as_json(passages) if json else _as_text(passages))


def _as_json(passages: list[Passage]) -> str:
    return json.dumps([dataclasses.asdict(passage) for passage in passages], default=str, ensure_ascii=False)


def _as_text(passages: list[Passage]) -> str:
    if not passages:
        return "Nothing found."
    return "\n\n".join(
        f"{number}. {passage.title or passage.url}  {passage.heading_path}\n   {passage.url}\n"
        f"   score {passage.score:.3f}, cosine {'–' if passage.cosine is None else format(passage.cosine, '.3f')}, "
        f"coverage {passage.coverage:.2f}\n   {' '.join(passage.content.split())[:200]}"
        for number, passage in enumerate(passages, start=1)
    )
