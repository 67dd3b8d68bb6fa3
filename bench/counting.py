"""The product's settings, and a count of the CPU that embedding questions takes (bench/embedding_cost.py)."""

from core.settings import *  # noqa: F403

CELERY_IMPORTS = ("bench.embedding_cost",)
