"""A message in the tenant's accounts: its unit of the day's limit, the figures, and who is told of the answer."""

from functools import partial
from typing import Any

from django.db import transaction

from chat import freshness, token_budget
from chat.model_events import Usage
from chat.models import Message
from chat.payload import message_body
from core.states import State
from tenants import services as tenants
from tenants.models import EndUser, UsageEntry

_OUTCOMES = {
    Message.FinishReason.ANSWERED: UsageEntry.Outcome.ANSWERED,
    Message.FinishReason.NOT_FOUND: UsageEntry.Outcome.NOT_FOUND,
    Message.FinishReason.STOPPED: UsageEntry.Outcome.STOPPED,
}


def reserve(message: Message, end_user: EndUser | None) -> None:
    """Take a unit of today's limits, in the transaction that stores the question.

    Raises:
        DailyLimitReachedError: if today is used up.
    """
    tenants.reserve_question(tenant=message.tenant, end_user=end_user, question_id=message.pk)


def settle(message: Message, usage: Usage | None = None) -> None:
    """Account for a message that is over, in the transaction that closes it; a second call changes nothing.

    ``usage`` is what the model's server has counted. After the commit the age of what it cites is looked at.
    """
    outcome = UsageEntry.Outcome.FAILED
    if message.state == State.DONE:
        outcome = _OUTCOMES.get(Message.FinishReason(message.finish_reason), UsageEntry.Outcome.ANSWERED)
    is_first = tenants.settle_question(
        tenant=message.tenant,
        question_id=message.pk,
        outcome=outcome,
        total_ms=message.milliseconds_until(message.finished_at),
        result=lambda: _result(message),
    )
    if is_first:
        token_budget.settle(message, usage)
    transaction.on_commit(partial(freshness.look_at_age, message), robust=True)


def _result(message: Message) -> dict[str, Any]:
    end_user = message.conversation.end_user
    body = message_body(message)
    told = ("message_id", "conversation_id", "task_id", "question", "answer", "citations", "finish_reason", "model",
            "created_at", "timings")  # fmt: skip
    return {"user_id": end_user.external_id if end_user else None} | {name: body[name] for name in told}
