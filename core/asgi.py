"""The application that the web service serves (core.web); any other ASGI server would do."""

import os

import structlog
from django.conf import settings
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "core.settings")

django_application = get_asgi_application()

import core.urls  # noqa: E402, F401 -- every view, now and not with the first request; after Django is set up
from core import consumers, memory  # noqa: E402
from core.celery import app  # noqa: E402
from core.static_files import StaticFiles  # noqa: E402
from core.threads import SharedThreads, leave_sessions_to_threads  # noqa: E402

application = StaticFiles(SharedThreads(django_application, settings.WEB_THREADS))


def prepare_to_send() -> None:
    """Load what the first message needs: 40 ms that its question would wait for. Opens no connection."""
    app.finalize(auto=True)
    app.backend.as_uri()
    with app.producer_pool.acquire(block=False):
        pass


def warn_where_chat_waits() -> None:
    """Say so once if chat has no workers of its own; to refuse to serve would not help those who ask."""
    if problem := consumers.find_configured_problem(settings.DEPLOY_DIR):
        structlog.get_logger(__name__).error("chat will wait", problem=problem)


leave_sessions_to_threads()
prepare_to_send()
warn_where_chat_waits()
memory.settle()
