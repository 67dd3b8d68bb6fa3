"""The web process: ``uvicorn core.asgi:application``."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "core.settings")

django_application = get_asgi_application()

from core.static_files import StaticFiles  # noqa: E402 -- reads the installed apps, so after Django is set up

application = StaticFiles(django_application)
