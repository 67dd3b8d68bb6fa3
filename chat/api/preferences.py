"""What the caller wants back: the answer, a handle, or a stream (RFC 7240's ``Prefer``, and ``Accept``)."""

from django.conf import settings
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request


class EventStreamRenderer(JSONRenderer):
    """Lets ``Accept: text/event-stream`` through; errors before the stream are still JSON."""

    media_type = "text/event-stream"
    format = "sse"
    charset = None


def wants_stream(request: Request) -> bool:
    return isinstance(request.accepted_renderer, EventStreamRenderer)


def preferences(request: Request) -> dict[str, str]:
    """Return the request's preferences by lower-case name; the first of a name counts."""
    found: dict[str, str] = {}
    for part in request.headers.get("Prefer", "").split(","):
        name, _, value = part.split(";")[0].partition("=")
        found.setdefault(name.strip().lower(), value.strip().strip('"'))
    return found


def wait_seconds(preferred: dict[str, str]) -> float:
    """Return how long to wait for an answer: what ``wait=`` asks, at most the server's own limit."""
    wait = preferred.get("wait", "")
    limit = settings.CHAT_WAIT_SECONDS
    return min(int(wait), limit) if wait.isascii() and wait.isdigit() and len(wait) < 6 else limit  # noqa: PLR2004
