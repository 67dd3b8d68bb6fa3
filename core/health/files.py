"""Health files: a process that lives touches its own every few seconds."""

import os
import time
from pathlib import Path

TOUCH_EVERY_SECONDS = 5.0
MAX_AGE_SECONDS = 30.0


def folder() -> Path:
    """Return the folder of health files, the same that the settings name, without loading those."""
    return Path(os.environ.get("VAR_DIR") or Path(__file__).resolve().parent.parent.parent / "var") / "health"


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def age_seconds(path: Path) -> float:
    """Return how long ago the process last showed life; infinite if it never did."""
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return float("inf")
