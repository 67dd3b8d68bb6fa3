"""The product's settings, and a word in a question that kills whatever process answers it."""

from core.settings import *  # noqa: F403

CELERY_IMPORTS = ("tests.chat.dying",)
