import json
import signal
import sys
from dataclasses import fields
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from tasks_api import isolation
from tasks_api.isolation import Plan
from tasks_api.models import IsolationProof

EXIT_BROKEN = 1
EXIT_STOPPED = 130
HELP = {
    "questions": "asked in each of the two rounds",
    "per_second": "questions a second",
    "backlog": "background tasks that wait while the second round is asked",
    "max_wait_ms": "longest wait under load, p99",
    "max_ratio": "longest wait under load, in multiples of that without; waits up to "
    f"{isolation.NEGLIGIBLE_MS:.0f} ms are never too long",
}


class Command(BaseCommand):
    help = (
        "Prove that chat does not wait for background work: ask real questions without and with a flood of real work, "
        "for a tenant that is thrown away. Exit status: 0 the promise is kept, 1 it is broken, 130 stopped."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        for field in fields(Plan):
            parser.add_argument(
                f"--{field.name.replace('_', '-')}", type=type(field.default), default=field.default,
                help=f"{HELP[field.name]} (default: %(default)s)",
            )  # fmt: skip
        parser.add_argument("--json", action="store_true", help="print the result as one JSON line")

    def handle(self, *_args: Any, **options: Any) -> None:
        plan = Plan(**{field.name: options[field.name] for field in fields(Plan)})
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that it cleans up as after Ctrl-C
        try:
            proof = isolation.prove(plan, tell=lambda what: self.stderr.write(f"{what} …"))
        except KeyboardInterrupt:
            self.stderr.write("Stopped; what was made for it has been taken away again.")
            sys.exit(EXIT_STOPPED)
        finally:
            signal.signal(signal.SIGTERM, before)
        self._print(proof, as_json=options["json"])
        if not proof.is_kept:
            sys.exit(EXIT_BROKEN)

    def _print(self, proof: IsolationProof, *, as_json: bool) -> None:
        if as_json:
            self.stdout.write(json.dumps({"is_kept": proof.is_kept, "reason": proof.reason} | proof.measured))
            return
        self.stdout.write(f"{'milliseconds':<24}{'p50':>8}{'p95':>8}{'p99':>8}")
        for name, load in (("alone", "idle"), ("under load", "loaded")):
            for what, key in (("wait", "wait_ms"), ("first token", "first_token_ms")):
                found = proof.measured.get(load, {}).get(key, {})
                cells = (found.get(share) for share in ("p50", "p95", "p99"))
                line = "".join(f"{'–' if cell is None else format(cell, '.0f'):>8}" for cell in cells)
                self.stdout.write(f"{f'{what}, {name}':<24}{line}")
        self.stdout.write(
            self.style.SUCCESS("The promise is kept.") if proof.is_kept else self.style.ERROR(proof.reason)
        )
