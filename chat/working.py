"""Answering one claimed message: the pieces go to its stream, the whole into its row, behind the fence."""

import logging
from collections.abc import Callable, Coroutine
from contextlib import ExitStack, aclosing
from datetime import datetime
from functools import partial
from typing import Any

from django.db import transaction
from django.utils import timezone

from chat import accounts, answering
from chat.errors import AnsweringError
from chat.flushing import flusher
from chat.models import Message
from chat.payload import message_body
from chat.query_cache import Slot
from chat.stream import WRITING, Writer
from core import jobs
from core.continuing import in_thread
from core.database import outlast
from core.postgres.restarts import has_lost_session
from core.states import State

log = logging.getLogger(__name__)


class Draft:
    """The answer so far."""

    def __init__(self) -> None:
        self.citations: list[answering.Citation] = []
        self.first_token_at: datetime | None = None
        self.model = ""
        self.is_cached = False
        self.slot: Slot | None = None
        self.finish_reason: str = Message.FinishReason.ERROR
        self.is_whole = False
        self.usage: answering.Usage | None = None

    def take(self, piece: answering.Piece, writer: Writer) -> None:
        match piece:
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
            case answering.MayKeep(slot=slot):
                self.slot = slot
            case answering.Usage() as usage:
                self.usage = usage
            case answering.Ending(finish_reason=finish_reason):
                self.finish_reason = finish_reason
                self.is_whole = True


class Work:
    """One claimed message while it is answered; its lease is kept until `_end`."""

    def __init__(self, message: Message, afterwards: Callable[[], None]) -> None:
        self._message = message
        self._afterwards = afterwards
        self._draft = Draft()
        self._writer = Writer(message.pk, message.attempt)
        self._stack = ExitStack()
        self._lease = self._stack.enter_context(jobs.kept(message))

    def begin(self) -> Coroutine[Any, Any, None] | None:
        """Answer, or return what a model is still to write."""
        try:
            self._writer.status("searching")
            self._writer.flush()
            for piece in answering.answer(self._message, should_stop=lambda: self._lease.is_over):
                if isinstance(piece, answering.ByModel):
                    return self._go_on(piece)
                self._draft.take(piece, self._writer)
        except Exception as exc:
            self._end(exc)
        else:
            self._end(None)
        return None

    async def _go_on(self, rest: answering.ByModel) -> None:
        failure: Exception | None = None
        try:
            self._writer.status(WRITING)
            async with flusher().following(self._writer), aclosing(rest.pieces) as pieces:
                async for piece in pieces:
                    is_first = self._draft.first_token_at is None
                    self._draft.take(piece, self._writer)
                    if is_first and self._draft.first_token_at:
                        flusher().flush()  # the first text need not wait for the beat
        except Exception as exc:
            failure = exc
        await in_thread(partial(self._end, failure))

    def _end(self, failure: Exception | None) -> None:
        """Close the row; an expected failure closes it as failed, a bug then surfaces besides.

        A database that was restarted under the search is neither: another worker begins anew, at once.
        """
        try:
            if failure is None:
                self._close(state=State.DONE)
            elif has_lost_session(failure):
                log.warning("message %s is handed on: the database ended the session", self._message.pk)
                self._stack.close()
                outlast(self._message.hand_on)
            elif isinstance(failure, AnsweringError):
                log.warning("message %s could not be answered: %s", self._message.pk, failure.code)
                self._close(state=State.FAILED, error_code=failure.code, error=str(failure))
            else:
                self._close(state=State.FAILED, error_code="internal_error",
                            error="Answering failed on our side. Please ask again.")  # fmt: skip
                raise failure
        finally:
            self._stack.close()
            self._afterwards()

    def _close(self, *, state: State, **values: Any) -> None:
        outlast(partial(self._write, state=state, **values))

    def _write(self, *, state: State, **values: Any) -> None:
        message, draft, text = self._message, self._draft, self._writer.text
        if state == State.FAILED:
            draft.finish_reason = Message.FinishReason.ERROR
        elif self._lease.is_stopped:
            draft.finish_reason = Message.FinishReason.STOPPED
        values |= {
            "state": state,
            "answer": text,
            "citations": draft.citations,
            "finish_reason": draft.finish_reason,
            "model": draft.model,
            "is_cached": draft.is_cached,
            "first_token_at": draft.first_token_at,
            "finished_at": timezone.now(),
        }
        with transaction.atomic():
            if not message.let_go(**values):
                log.warning("message %s was taken over meanwhile; this attempt's answer is dropped", message.pk)
                return
            for name, value in values.items():
                setattr(message, name, value)
            accounts.settle(message, draft.usage)
        self._writer.end("error" if state == State.FAILED else "done", message_body(message))
        if draft.slot and draft.is_whole and not self._lease.is_over:
            draft.slot.keep(answer=text, citations=message.citations, finish_reason=draft.finish_reason)


def work(message: Message, *, afterwards: Callable[[], None] = lambda: None) -> Coroutine[Any, Any, None] | None:
    """Answer the message that this worker has claimed, or return what is left to do on an event loop.

    An expected failure closes the row as failed; a bug closes it too, then surfaces. ``afterwards`` is called when
    the row is closed.
    """
    return Work(message, afterwards).begin()
