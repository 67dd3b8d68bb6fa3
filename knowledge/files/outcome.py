"""What goes into the reading process and what comes out of it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    pages: int
    chars: int
    ends_at: float  # time.monotonic()


@dataclass(frozen=True)
class Outcome:
    """``content`` is Markdown; ``detail`` says how much of the file it is, or what is wrong.

    ``error`` is "", "encrypted", "damaged" or "too_large".
    """

    content: str = ""
    title: str = ""
    error: str = ""
    detail: str = ""
