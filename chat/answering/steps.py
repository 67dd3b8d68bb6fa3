"""The steps of answering: small talk, search, then a model if there is one, else the site's own sentences."""

from collections.abc import Callable, Iterator

from django.conf import settings

from chat.answering import extractive, generated, not_found, smalltalk
from chat.answering.pieces import Author, Ending, Piece, Text
from chat.models import Message
from core.database import release_connection
from knowledge.search import search

PASSAGES = 8


def answer(message: Message, *, should_stop: Callable[[], bool]) -> Iterator[Piece]:
    """Yield the answer piece by piece, an `Ending` last; fewer pieces if ``should_stop`` becomes true.

    No database session is held while a model writes.

    Raises:
        AnsweringError: if the model fails; what was yielded stays valid.
    """
    question = message.question
    if reply := smalltalk.reply_to(question, message.tenant.name):
        yield Author(smalltalk.MODEL)
        yield Text(reply)
        yield Ending(Message.FinishReason.ANSWERED)
        return
    has_model = bool(settings.LLM_BASE_URL)
    yield Author(settings.LLM_MODEL or "default" if has_model else extractive.MODEL)
    turns = generated.earlier_turns(message) if has_model else []
    passages = search(tenant=message.tenant, query=generated.search_query(question, turns), limit=PASSAGES)
    release_connection()
    if not passages:
        yield from not_found.answer(question, passages)
    elif has_model:
        yield from generated.answer(question, passages, turns, should_stop)
    else:
        yield from extractive.answer(question, passages)
