"""A tenant's tokens of the day: reserved before a model is asked, settled when the answer is over (docs/chat.md).

One statement checks and reserves, so answers at the same time cannot take more than is left; what was reserved is
the whole prompt and the longest answer. Tokens are estimated, rather too many; what the model's server counts is
taken in their place when the answer is over.
"""

from dataclasses import astuple
from datetime import date

from django.conf import settings
from django.db import connection, transaction
from django.db.models import F

from chat.model_events import Usage
from chat.models import Message
from core.postgres import prepared
from core.states import State
from tenants.models import Tenant, TokenDay

BYTES_PER_TOKEN = 3

_RESERVE = """
    INSERT INTO tenants_tokenday AS today (tenant_id, day, held, prompt_tokens, answer_tokens, cost_micros)
    SELECT %(tenant)s::uuid, %(day)s::date, %(tokens)s::int, 0, 0, 0 WHERE %(tokens)s <= %(limit)s::int
    ON CONFLICT (tenant_id, day) DO UPDATE SET held = today.held + excluded.held
    WHERE today.held + today.prompt_tokens + today.answer_tokens + excluded.held <= %(limit)s
    RETURNING id
"""
_USE = """
    UPDATE chat_message SET prompt_tokens = %(prompt)s, answer_tokens = %(answer)s, cost_micros = %(cost)s,
        held_tokens = 0 WHERE id = %(message)s;
    INSERT INTO tenants_tokenday AS today (tenant_id, day, held, prompt_tokens, answer_tokens, cost_micros)
    VALUES (%(tenant)s, %(day)s, 0, %(prompt)s, %(answer)s, %(cost)s)
    ON CONFLICT (tenant_id, day) DO UPDATE SET held = greatest(today.held - %(held)s, 0),
        prompt_tokens = today.prompt_tokens + %(prompt)s, answer_tokens = today.answer_tokens + %(answer)s,
        cost_micros = today.cost_micros + %(cost)s
"""


def estimated_tokens(text: str) -> int:
    """Return about how many tokens the text is, rather more: three bytes each, as Persian needs; English has four."""
    return -(-len(text.encode()) // BYTES_PER_TOKEN)


def limit_of(tenant: Tenant) -> int | None:
    """Return the tokens a day, None for no limit."""
    return (settings.LLM_TENANT_DAILY_TOKENS if tenant.daily_tokens is None else tenant.daily_tokens) or None


def reserve(message: Message, *, prompt_tokens: int, note: str) -> bool:
    """Reserve the prompt and the longest answer, or return False if that is more than is left of the day.

    What an earlier attempt at the message reserved is given back first. A message that is not stored, such as that of
    a replay, reserves nothing.
    """
    message.note = note
    limit, tokens = limit_of(message.tenant), prompt_tokens + settings.LLM_MAX_TOKENS
    if message._state.adding or limit is None:
        message.prompt_tokens = prompt_tokens  # written when it is settled
        return True
    with transaction.atomic():
        _give_back(message)
        if not _hold(message, tokens, limit):
            return False
        message.prompt_tokens, message.held_tokens = prompt_tokens, tokens
        message.save(update_fields=["note", "prompt_tokens", "held_tokens"])
    return True


def note_used_up(message: Message) -> None:
    """Say in the message that no model was asked, because the day's tokens are used up."""
    message.note, message.prompt_tokens = Message.Note.USED_UP, 0
    message.save(update_fields=["note", "prompt_tokens"])


def settle(message: Message, usage: Usage | None = None) -> None:
    """Count what an answer has used and give back the rest, in the transaction that closes it.

    Without the server's count, as of an answer that was stopped, it is estimated.
    """
    if not (message.prompt_tokens or message.held_tokens):
        return
    was_written = message.state == State.DONE or bool(message.answer)  # else the model has refused, or was away
    estimate = Usage(message.prompt_tokens if was_written else 0, estimated_tokens(message.answer))
    prompt, answer = astuple(usage or estimate)
    cost = prompt * settings.LLM_PROMPT_PRICE_PER_MILLION + answer * settings.LLM_ANSWER_PRICE_PER_MILLION
    used = {"prompt": prompt, "answer": answer, "cost": round(cost), "held": message.held_tokens, "message": message.pk}
    with connection.cursor() as cursor:
        prepared.execute(cursor, _USE, used | {"tenant": message.tenant_id, "day": _day(message)})
    message.prompt_tokens, message.answer_tokens, message.cost_micros = prompt, answer, round(cost)
    message.held_tokens = 0


def _hold(message: Message, tokens: int, limit: int) -> bool:
    with connection.cursor() as cursor:
        prepared.execute(
            cursor, _RESERVE, {"tenant": message.tenant_id, "day": _day(message), "tokens": tokens, "limit": limit}
        )
        return cursor.fetchone() is not None


def _give_back(message: Message) -> None:
    if message.held_tokens:
        today = TokenDay.objects.for_tenant(message.tenant).filter(day=_day(message), held__gte=message.held_tokens)
        today.update(held=F("held") - message.held_tokens)
        message.held_tokens = 0


def _day(message: Message) -> date:
    """Return the tenant's day on which the question was asked: it is reserved and settled on the same."""
    return message.tenant.day_of(message.created_at)
