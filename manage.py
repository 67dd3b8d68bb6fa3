#!/usr/bin/env python
"""Run Pasokh's commands: ``manage.py ask``, ``crawl``, ``doctor`` and Django's own."""

import os
import sys
from pathlib import Path


def use_project_python() -> None:
    """Continue under ``.venv`` when started by a Python that lacks the project's packages."""
    python = Path(__file__).resolve().parent / ".venv" / "bin" / "python"
    if python.exists() and Path(sys.prefix) != python.parent.parent:
        os.execv(python, [str(python), *sys.argv])
    sys.exit("pasokh: Django is not installed. Run script/up first; it sets everything up.")


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "core.settings")
    try:
        from django.core.management import execute_from_command_line
    except ModuleNotFoundError:
        use_project_python()
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
