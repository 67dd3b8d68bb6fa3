"""The steps of answering: small talk, the cache, search, then a model if there is one, else the site's sentences."""

from collections.abc import Callable, Iterator, Sequence

from django.conf import settings

from chat import query_cache, token_budget
from chat.answering import caching, extractive, generated, not_found, smalltalk
from chat.answering.pieces import Author, ByModel, Ending, MayKeep, Piece, Text
from chat.models import Message
from knowledge.search import Passage, search

PASSAGES = 8


def answer(message: Message, *, should_stop: Callable[[], bool]) -> Iterator[Piece | ByModel]:
    """Yield the answer piece by piece, an `Ending` last; a model's part comes as one `ByModel` instead of its pieces.

    The model's part ends early once ``should_stop`` becomes true.
    """
    question = message.question
    if reply := smalltalk.reply_to(question, message.tenant.name):
        yield Author(smalltalk.MODEL)
        yield Text(reply)
        yield Ending(Message.FinishReason.ANSWERED)
        return
    model = author()
    yield Author(model)
    turns = generated.earlier_turns(message) if has_model() else []
    # Before the search: what is found then is at least as new as the version that the slot names.
    slot = None if turns else query_cache.slot(tenant=message.tenant, question=question, model=model)
    if slot and (kept := slot.find()):
        yield from caching.replay(kept)
        return
    passages = search(tenant=message.tenant, query=generated.search_query(question, turns), limit=PASSAGES)
    plan = _affordable(message, passages, turns) if passages and has_model() else None
    is_as_wished = message.note == ""
    if slot and is_as_wished and caching.may_keep(passages):
        yield MayKeep(slot)
    if plan:
        yield ByModel(generated.answer(plan, should_stop))
        return
    if not is_as_wished:
        yield Author(extractive.MODEL)
    yield from extractive.answer(question, passages) if passages else not_found.answer(question, passages)


def _affordable(message: Message, passages: Sequence[Passage], turns: Sequence[Message]) -> generated.Plan | None:
    """Return what the tenant's tokens of today allow to ask: all, the best passages alone, or nothing (None)."""
    for note in ("", Message.Note.SHORTER):
        plan = generated.plan(message.question, passages, turns, is_short=bool(note))
        if token_budget.reserve(message, prompt_tokens=plan.tokens, note=note):
            return plan
    token_budget.note_used_up(message)
    return None


def has_model() -> bool:
    return bool(settings.LLM_BASE_URL)


def author() -> str:
    """Return who writes the answers that are not small talk."""
    return (settings.LLM_MODEL or "default") if has_model() else extractive.MODEL
