"""A message as the outside sees it: the same body in the API, in the stream's last event and on the command line."""

from typing import Any

from chat.models import Message
from core.errors import problem
from core.states import State


def message_body(message: Message) -> dict[str, Any]:
    """Return the message's state and, once over, its answer; JSON types only."""
    return {
        "message_id": str(message.pk),
        "conversation_id": str(message.conversation_id),
        "task_id": str(message.task_id),
        "state": str(message.state),
        "question": message.question,
        "answer": message.answer,
        "citations": message.citations,
        "finish_reason": str(message.finish_reason),
        "model": message.model,
        "is_cached": message.is_cached,
        "note": message.note or None,
        "tokens": {
            "prompt": message.prompt_tokens,
            "answer": message.answer_tokens,
            "cost": message.cost_micros / 1_000_000,
        },
        "error": error_body(message),
        "rating": message.rating or None,
        "created_at": message.created_at.isoformat(),
        "timings": {
            "queue_wait_ms": message.milliseconds_until(message.started_at),
            "first_token_ms": message.milliseconds_until(message.first_token_at),
            "total_ms": message.milliseconds_until(message.finished_at),
        },
    }


def error_body(message: Message) -> dict[str, Any] | None:
    """Return why answering failed, as a problem, or None."""
    if message.state != State.FAILED:
        return None
    return problem(502, message.error_code or "answer_failed", message.error, message_id=str(message.pk))
