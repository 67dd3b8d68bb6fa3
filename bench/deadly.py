"""The product's settings, and words in a question that kill whatever process answers it (bench/dying.py)."""

from core.settings import *  # noqa: F403

CELERY_IMPORTS = ("bench.dying",)
