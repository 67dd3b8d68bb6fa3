"""Stands for a question that makes native code crash, or fills the memory until the kernel kills the process."""

import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

from bench import words
from chat import answering
from chat.models import Message

SLOW_SECONDS = 1.0
_answer = answering.answer


def answer(message: Message, **options: Any) -> Iterator[Any]:
    if words.DEADLY in message.question:
        if words.SLOWLY in message.question:
            threading.Timer(SLOW_SECONDS, _die).start()
        else:
            _die()
    return _answer(message, **options)


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


answering.answer = answer
