"""Stands for a question that makes native code crash, or fills the memory until the kernel kills the process."""

import os
import signal

from chat import answering

DEADLY = "deadly"
_answer = answering.answer


def answer(message, **options):
    if DEADLY in message.question:
        os.kill(os.getpid(), signal.SIGKILL)
    return _answer(message, **options)


answering.answer = answer
