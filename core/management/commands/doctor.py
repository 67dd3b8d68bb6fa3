import json
import sys
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from core import doctor


class Command(BaseCommand):
    help = "Look at every part of a running Pasokh and say how to mend what is not well. Exit code 1 on a problem."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        findings = []
        for finding in doctor.examine():
            findings.append(finding)
            if not options["json"]:
                self._show(finding)
        is_well = all(finding.ok for finding in findings)
        if options["json"]:
            self.stdout.write(json.dumps({"ok": is_well, "findings": [asdict(finding) for finding in findings]}))
        if not is_well:
            sys.exit(1)

    def _show(self, finding: doctor.Finding) -> None:
        mark = self.style.SUCCESS("ok     ") if finding.ok else self.style.ERROR("problem")
        self.stdout.write(f"{mark}  {finding.name:<18} {finding.detail}")
        if finding.fix:
            self.stdout.write(f"{'':<9}{'':<18} → {finding.fix}")
