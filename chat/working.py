"""Answering one claimed message: the pieces go to its stream, the whole into its row, behind the fence."""

import logging
from datetime import datetime
from typing import Any

from django.db import transaction
from django.utils import timezone

from chat import accounts, answering, leases
from chat.errors import AnsweringError
from chat.models import Message
from chat.payload import message_body
from chat.stream import Writer
from core.states import State

log = logging.getLogger(__name__)


class Draft:
    """The answer so far."""

    def __init__(self) -> None:
        self.citations: list[answering.Citation] = []
        self.first_token_at: datetime | None = None
        self.model = ""
        self.is_cached = False
        self.finish_reason: str = Message.FinishReason.ERROR

    def take(self, piece: answering.Piece, writer: Writer) -> None:
        match piece:
            case answering.Text(text=""):
                writer.tick()
            case answering.Text(text=text):
                self.first_token_at = self.first_token_at or timezone.now()
                writer.delta(text)
            case answering.Sources(citations=citations):
                self.citations = citations
                writer.sources([dict(citation) for citation in citations])
            case answering.Author(model=model):
                self.model = model
            case answering.FromCache():
                self.is_cached = True
            case answering.Ending(finish_reason=finish_reason):
                self.finish_reason = finish_reason


def work(message: Message) -> None:
    """Answer the message that this worker has claimed; an expected failure closes the row as failed.

    A bug closes the row too, then surfaces.
    """
    draft = Draft()
    writer = Writer(message.pk, message.attempt)
    with leases.kept(message) as lease:
        try:
            writer.status("searching")
            for piece in answering.answer(message, should_stop=lambda: lease.is_over):
                draft.take(piece, writer)
                if lease.is_over:
                    break
        except AnsweringError as exc:
            log.warning("message %s could not be answered: %s", message.pk, exc.code)
            _close(message, draft, writer, state=State.FAILED, error_code=exc.code, error=str(exc))
        except Exception:
            _close(message, draft, writer, state=State.FAILED, error_code="internal_error",
                   error="Answering failed on our side. Please ask again.")  # fmt: skip
            raise
        else:
            if lease.is_stopped:
                draft.finish_reason = Message.FinishReason.STOPPED
            _close(message, draft, writer, state=State.DONE)


def _close(message: Message, draft: Draft, writer: Writer, *, state: State, **values: Any) -> None:
    values |= {
        "answer": writer.text,
        "citations": draft.citations,
        "finish_reason": Message.FinishReason.ERROR if state == State.FAILED else draft.finish_reason,
        "model": draft.model,
        "is_cached": draft.is_cached,
        "first_token_at": draft.first_token_at,
    }
    with transaction.atomic():
        if not Message.objects.finish(message, state=state, **values):
            log.warning("message %s was taken over meanwhile; this attempt's answer is dropped", message.pk)
            return
        message.refresh_from_db()
        accounts.settle(message)
    writer.end("error" if state == State.FAILED else "done", message_body(message))
