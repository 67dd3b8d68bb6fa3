"""``manage.py ask --tenant demo "How do I install it?"``: the real way, through row, queue and worker."""

import asyncio
import json
import sys
from contextlib import aclosing
from typing import Any

from asgiref.sync import sync_to_async
from django.core.management.base import BaseCommand, CommandError, CommandParser

from chat import services
from chat.following import Event, follow
from chat.models import Message
from core import inspecting, queues
from core.enqueue import BROKER_ERRORS
from core.errors import PasokhError
from core.states import State
from tenants.models import Tenant

END_USER = "command-line"
LOOK_FOR_WORKERS_AFTER_SECONDS = 3.0
INSPECT_SECONDS = 1.0
EXIT_FAILED = 1
EXIT_NOT_ASKED = 2
EXIT_TOO_LATE = 3


class Command(BaseCommand):
    help = (
        "Ask a tenant's assistant and watch the answer being written. "
        "Exit status: 0 answered (also: not in the content), 1 failed, 2 not asked, 3 not answered in time."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("question")
        parser.add_argument("--tenant", required=True, metavar="SLUG")
        parser.add_argument("--conversation", metavar="ID", help="go on with a conversation of this command")
        parser.add_argument("--timeout", type=float, default=150.0, metavar="SECONDS", help="default: %(default)s")
        parser.add_argument("--json", action="store_true", help="print the whole message as one JSON line")

    def handle(self, *_args: Any, **options: Any) -> None:
        message = self._ask(options)
        try:
            body = asyncio.run(self._watch(message, is_quiet=options["json"], seconds=options["timeout"]))
        except TimeoutError:
            self.stderr.write(f"No answer in {options['timeout']:g} s; the question stays: message {message.pk}")
            sys.exit(EXIT_TOO_LATE)
        except KeyboardInterrupt:
            services.request_stop(message=message)
            self.stderr.write("\nStopped.")
            sys.exit(EXIT_FAILED)
        self._print_end(body, as_json=options["json"])
        if body["state"] == State.FAILED:
            sys.exit(EXIT_FAILED)

    def _ask(self, options: dict[str, Any]) -> Message:
        tenant = Tenant.objects.filter(slug=options["tenant"], is_active=True).first()
        if tenant is None:
            known = ", ".join(Tenant.objects.filter(is_active=True).values_list("slug", flat=True)[:10])
            raise CommandError(
                f"There is no tenant “{options['tenant']}”. Known: {known or 'none; see manage.py create_tenant'}",
                returncode=EXIT_NOT_ASKED,
            )
        try:
            return services.ask(
                tenant=tenant,
                question=options["question"],
                user_id=END_USER,
                conversation_id=options["conversation"],
            )
        except PasokhError as exc:
            raise CommandError(str(exc), returncode=EXIT_NOT_ASKED) from exc

    async def _watch(self, message: Message, *, is_quiet: bool, seconds: float) -> dict[str, Any]:
        """Write the text as it comes and return the message's body."""
        looking = asyncio.create_task(self._say_if_nobody_works(message))
        shown = ""
        try:
            async with asyncio.timeout(seconds), aclosing(follow(message)) as events:
                async for event in events:
                    if event is None:
                        continue
                    looking.cancel()
                    if event.is_last:
                        return {name: value for name, value in event.data.items() if name != "attempt"}
                    if not is_quiet:
                        shown = self._show(event, shown)
        finally:
            looking.cancel()
        raise TimeoutError

    def _show(self, event: Event, shown: str) -> str:
        if event.name == "reset":
            if shown:
                self.stdout.write("\n… beginning again:\n")
            return ""
        text = str(event.data.get("text", "")) if event.name == "delta" else ""
        self.stdout.write(text, ending="")
        self.stdout.flush()
        return shown + text

    async def _say_if_nobody_works(self, message: Message) -> None:
        await asyncio.sleep(LOOK_FOR_WORKERS_AFTER_SECONDS)
        problem = await sync_to_async(_why_nobody_works, thread_sensitive=False)()
        if problem:
            self.stderr.write(f"{problem}\nWaiting; the question is kept: message {message.pk}")

    def _print_end(self, body: dict[str, Any], *, as_json: bool) -> None:
        if as_json:
            self.stdout.write(json.dumps(body, ensure_ascii=False))
            return
        self.stdout.write("")
        if body["error"]:
            self.stderr.write(f"Failed: {body['error']['detail']} ({body['error']['code']})")
        for citation in body["citations"]:
            near = " (near)" if citation.get("nearest") else ""
            read = f"\n    read {citation['fetched_at'][:10]}" if "fetched_at" in citation else ""
            self.stdout.write(f"\n[{citation['n']}]{near} {citation['title']}\n    {citation['url']}{read}")
        waits = ", ".join(f"{name.removesuffix('_ms')} {value} ms" for name, value in body["timings"].items())
        self.stdout.write(f"\n{body['model'] or '–'} · {body['finish_reason']} · {waits}")


def _why_nobody_works() -> str:
    """Return what keeps the question waiting, and its cure; empty if a worker listens."""
    try:
        answers = inspecting.active_queues(seconds=INSPECT_SECONDS)
    except BROKER_ERRORS as exc:
        return f"The broker does not answer ({type(exc).__name__}): is Redis running? See manage.py doctor."
    listening = {queue["name"] for consumed in answers.values() for queue in consumed}
    if queues.HIGH_PRIORITY in listening:
        return ""
    return (
        f"No worker listens to {queues.HIGH_PRIORITY}. "
        f"Start one: celery -A core worker -Q {queues.HIGH_PRIORITY} -P threads -c 100 (script/up starts all)."
    )
