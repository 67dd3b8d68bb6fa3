"""The database and the demo tenant, which answers from the product's own handbook."""

import io
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import django
from django.core.management import call_command

from core.up.environment import Environment
from core.up.errors import UpError
from core.up.places import Places
from core.up.screen import QUESTIONS

FIRST_ANSWER_SECONDS = 120
QUESTION_SECONDS = 30


class Site:
    """What the running services serve, seen through Django and, as a customer would, over HTTP."""

    def __init__(self, places: Places, wanted: Environment) -> None:
        self.places = places
        self.wanted = wanted
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "core.settings")
        django.setup()

    def needs_migration(self) -> bool:
        try:
            call_command("migrate", check_unapplied=True, verbosity=0, stdout=io.StringIO())
        except SystemExit:
            return True
        return False

    def migrate(self) -> None:
        call_command("migrate", interactive=False, verbosity=0)

    def is_known(self) -> bool:
        """Tell whether the demo was made by an earlier start."""
        return self.places.api_key_file.exists()

    def make(self) -> None:
        """Seed the schedule, make the demo tenant with its user and key, and crawl the handbook; all idempotent."""
        call_command("seed_schedules", stdout=io.StringIO())
        call_command(
            "seed_demo",
            url=f"{self.wanted.url}/handbook/",
            password=self.wanted.demo_password,
            key_file=self.places.api_key_file,
        )

    def wait_for_answers(self, check: Callable[[], None]) -> None:
        """Ask until every question of the screen is answered; "not found" cites nearby pages, but is no answer.

        Raises:
            UpError: if that takes too long.
        """
        deadline = time.monotonic() + FIRST_ANSWER_SECONDS
        for question in QUESTIONS:
            while not _is_answered(reply := self._ask(question)):
                check()
                if time.monotonic() > deadline:
                    raise UpError(
                        f"no cited answer after {FIRST_ANSWER_SECONDS} s (last reply: {reply}). "
                        "See var/log/celery_ai.log and var/log/celery_worker.log, or run manage.py doctor."
                    )
                time.sleep(0.2)

    def _ask(self, question: str) -> dict[str, Any]:
        request = urllib.request.Request(  # noqa: S310 -- always http
            f"{self.wanted.url}/api/v1/query/",
            data=json.dumps({"question": question, "user_id": "first-start"}).encode(),
            headers={"X-API-Key": self.places.api_key_file.read_text().strip(), "Content-Type": "application/json"},
        )
        try:
            direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with direct.open(request, timeout=QUESTION_SECONDS) as response:
                return dict(json.load(response))
        except urllib.error.HTTPError as exc:
            return {"status": exc.code, "body": exc.read(300).decode(errors="replace")}
        except (OSError, ValueError) as exc:
            return {"error": str(exc)}


def _is_answered(reply: dict[str, Any]) -> bool:
    return reply.get("finish_reason") == "answered" and bool(reply["citations"])
