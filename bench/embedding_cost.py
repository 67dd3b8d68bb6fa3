"""Adds up the CPU that embedding questions takes in the workers; `bench.counting` has them load this.

It is more than the model takes alone: among others it shares caches and memory with them.
"""

import os
import struct
import threading
import time
from functools import cache
from pathlib import Path
from typing import Any

from celery import signals
from django.conf import settings

from knowledge import embeddings

_FORM = struct.Struct("d")  # seconds; a file for each process
_embed_query = embeddings.embed_query
_lock = threading.Lock()
_spent = 0.0


def spent_seconds() -> float:
    """Return the CPU seconds of all workers so far."""
    written = [path.read_bytes() for path in _folder().glob("*")]
    return sum(_FORM.unpack(spent)[0] for spent in written if spent)


@signals.worker_init.connect
def _count(**_: Any) -> None:
    _folder().mkdir(exist_ok=True)
    embeddings.embed_query = _counted  # one thread does all of it


def _counted(text: str, *, model: str = "") -> list[float]:
    before = time.thread_time()
    try:
        return _embed_query(text, model=model)
    finally:
        _add(time.thread_time() - before)


def _add(seconds: float) -> None:
    global _spent  # noqa: PLW0603
    with _lock:
        _spent += seconds
        os.pwrite(_file(), _FORM.pack(_spent), 0)


@cache
def _file() -> int:
    return os.open(_folder() / str(os.getpid()), os.O_WRONLY | os.O_CREAT)


def _folder() -> Path:
    folder: Path = settings.VAR_DIR / "embedding-cost"
    return folder
