"""The one door to a language model: any server that speaks OpenAI's chat completions.

A silent model can be given up at any moment: when the person presses Stop, at the deadline, or after too long a
silence. That closes the connection, which is how a server learns that nobody listens.
"""

import asyncio
import json
import logging
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from typing import Any, TypedDict

from django.conf import settings

from chat import model_connection
from chat.errors import AnsweringError
from chat.model_connection import Address, Connection, ConnectionLostError
from chat.model_events import Events, Usage, paired, parsed, read, usage_in
from chat.pulse import pulse

log = logging.getLogger(__name__)

LOOK_EVERY_SECONDS = 0.25
RETRY_AFTER_MAX_SECONDS = 2.0
USAGE_WAIT_SECONDS = 0.5  # for the count of tokens, which comes after the answer
OK = 200


class LLMError(AnsweringError):
    code = "llm_error"


class LLMUnavailableError(LLMError):
    """The model did not take the question; the one second try failed too."""

    status = 503
    code = "llm_unavailable"
    retry_after_seconds = 0.5


class LLMRefusedError(LLMError):
    """The model server says that the request itself is wrong: key, model name, length."""

    code = "llm_refused"


class LLMTimeoutError(LLMError):
    status = 504
    code = "llm_timeout"


class LLMBrokenStreamError(LLMError):
    """The model began and did not finish, or said what is not the protocol."""

    code = "llm_broken_stream"


class Turn(TypedDict):
    role: str
    content: str


class _StoppedError(Exception):
    """Nobody waits for the answer any more."""


class _Watch:
    """Knows when to give an answer up."""

    def __init__(self, should_stop: Callable[[], bool]) -> None:
        self.should_stop = should_stop
        self._deadline = time.monotonic() + settings.CHAT_ANSWER_DEADLINE_SECONDS
        self.begin()

    def begin(self) -> None:
        self._patience = settings.LLM_FIRST_TOKEN_TIMEOUT_SECONDS
        self._silent_since = time.monotonic()

    def heard(self) -> None:
        self._patience = settings.LLM_IDLE_TIMEOUT_SECONDS
        self._silent_since = time.monotonic()

    def is_too_late(self) -> bool:
        now = time.monotonic()
        return now > self._deadline or now - self._silent_since > self._patience

    def look(self) -> None:
        """Raise if it is no use to go on."""
        if self.should_stop():
            raise _StoppedError
        if self.is_too_late():
            raise LLMTimeoutError("The language model took too long to answer.")


async def stream(turns: list[Turn], *, should_stop: Callable[[], bool]) -> AsyncGenerator[str | Usage, None]:
    """Yield the model's text as it comes, after the first piece at most at every beat of the pulse.

    After the whole text comes a `Usage`, if the server reports one.
    Ends early, without an error, soon after ``should_stop`` becomes true. One second try, only before the first text.

    Raises:
        LLMUnavailableError, LLMRefusedError, LLMTimeoutError, LLMBrokenStreamError: named after what happened.
    """
    watch = _Watch(should_stop)
    has_begun = False
    for is_last_try in (False, True):
        watch.begin()
        try:
            async with aclosing(_texts(turns, watch)) as texts:
                async for text in texts:
                    has_begun = True
                    yield text
        except _StoppedError:
            return
        except LLMUnavailableError as exc:
            if has_begun or is_last_try:
                raise
            await _pause(min(exc.retry_after_seconds, RETRY_AFTER_MAX_SECONDS), should_stop)
        else:
            return


async def _pause(seconds: float, should_stop: Callable[[], bool]) -> None:
    until = time.monotonic() + seconds
    while not should_stop() and (left := until - time.monotonic()) > 0:
        await asyncio.sleep(min(LOOK_EVERY_SECONDS, left))


async def _texts(turns: list[Turn], watch: _Watch) -> AsyncGenerator[str | Usage, None]:
    """Yield the texts of one call, and what it took."""
    answer = await _begun(turns, watch)
    try:
        while not answer.is_whole:
            is_over = answer.connection.is_over  # before taking: then nothing more comes
            if text := answer.take():
                yield text
            if answer.failure:
                raise answer.failure
            if answer.is_whole:
                break
            if is_over:
                raise LLMBrokenStreamError("The language model stopped in the middle of its answer.")
            await answer.news()
        if usage := await answer.usage():
            yield usage
    finally:
        answer.leave()


async def _begun(turns: list[Turn], watch: _Watch) -> "_Answer":
    """Ask, and return the answer as it begins; a kept connection that the server has just closed costs nothing."""
    try:
        address = Address.of(settings.LLM_BASE_URL, "/chat/completions")
    except ValueError as exc:
        raise LLMRefusedError("The address of the language model is no URL; its configuration needs a look.") from exc
    request = _request(turns)
    if kept := model_connection.take_kept(address):
        with suppress(ConnectionLostError):
            return await _Answer(kept, watch).begin(request)
    answer = _Answer(await _connected(address, watch), watch)
    try:
        return await answer.begin(request)
    except ConnectionLostError as exc:
        raise LLMUnavailableError("The language model cannot be reached.") from exc


def _request(turns: list[Turn]) -> bytes:
    request: dict[str, Any] = {
        "model": settings.LLM_MODEL or "default",
        "messages": turns,
        "stream": True,
        "max_tokens": settings.LLM_MAX_TOKENS,
        "temperature": 0.1,
    }
    if settings.LLM_ASKS_USAGE:
        request["stream_options"] = {"include_usage": True}
    return json.dumps(request, ensure_ascii=False).encode(errors="replace")


async def _connected(address: Address, watch: _Watch) -> Connection:
    connecting = asyncio.ensure_future(model_connection.connect(address, seconds=settings.LLM_CONNECT_TIMEOUT_SECONDS))
    try:
        while not connecting.done():
            watch.look()
            await asyncio.wait([connecting], timeout=LOOK_EVERY_SECONDS)
        return connecting.result()
    except OSError as exc:
        raise LLMUnavailableError("The language model cannot be reached.") from exc
    finally:
        connecting.cancel()


class _Answer:
    """One answer while it comes. Whatever ends it early closes the connection."""

    def __init__(self, connection: Connection, watch: _Watch) -> None:
        self.connection = connection
        self.is_whole = False
        self._usage: Usage | None = None
        self._is_done = False  # the server has said its last word
        self.failure: LLMBrokenStreamError | None = None
        self._watch = watch
        self._is_urgent = True  # until the first text has come
        self._woken: asyncio.Future[None] | None = None
        self._events = Events()

    async def begin(self, request: bytes) -> "_Answer":
        """Send the request and wait for the head of its answer."""
        self.connection.on_news = self._on_news
        pulse().add(self._on_beat)
        try:
            self.connection.send(_headers(), request)
            while not self.connection.has_headers:
                if self.connection.is_lost:
                    raise ConnectionLostError
                await self.news()
            if self.connection.status != OK:
                raise _of_status(self.connection)
        except BaseException:
            self.leave()
            raise
        return self

    async def news(self) -> None:
        """Wait until something came, at once for the first text, later at a beat; raise when it is time to give up."""
        if not (self._is_urgent and self.connection.has_news):
            if not self._is_urgent:
                self.connection.rest()
            self._woken = asyncio.get_running_loop().create_future()
            await self._woken
        self._watch.look()

    def take(self) -> str:
        """Return the text that came; what is not the protocol becomes ``failure``, after the text before it."""
        data = self.connection.take()
        text = ""
        try:
            for event in self._events.feed(data + b"\n\n" if self.connection.is_over else data):
                if event == b"[DONE]":
                    self._is_done = True
                    continue
                chunk: dict[str, Any] = parsed(event)
                self._usage = usage_in(chunk) or self._usage
                if not self.is_whole:
                    piece, self.is_whole = read(chunk)
                    text += piece
        except (ValueError, TypeError, AttributeError, KeyError, IndexError, RecursionError) as exc:
            self._is_done = True
            if self.is_whole:  # whatever that was, the answer is there
                return paired(text)
            self.failure = LLMBrokenStreamError("The language model sent something that is not an answer.")
            self.failure.__cause__ = exc
        if text:
            self._is_urgent = False
            self._watch.heard()
        return paired(text)

    async def usage(self) -> Usage | None:
        """Return what the server says it took, once the text is whole; a server that says nothing is not waited for."""
        self._is_urgent = True
        with suppress(TimeoutError, _StoppedError, LLMTimeoutError):
            async with asyncio.timeout(USAGE_WAIT_SECONDS):
                while not (self._usage or self._is_done or self.connection.is_over):
                    await self.news()
                    self.take()
        return self._usage

    def leave(self) -> None:
        pulse().remove(self._on_beat)
        if self.is_whole:
            self.connection.leave()
        else:
            self.connection.close()

    def _on_news(self) -> None:
        self._wake()  # nothing is read between two beats but the first text

    def _on_beat(self) -> None:
        self.connection.resume()
        if self.connection.has_news or self._watch.should_stop() or self._watch.is_too_late():
            self._wake()

    def _wake(self) -> None:
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)


def _headers() -> dict[str, str]:
    return {
        "Authorization": f"Bearer {settings.LLM_API_KEY or 'none'}",
        "Content-Type": "application/json",
        "Accept": "text/event-stream",
        "User-Agent": "Pasokh",
    }


def _of_status(connection: Connection) -> LLMError:
    status = connection.status
    log.warning("the language model answered with status %s", status)
    if status not in (408, 409, 425, 429) and status < 500:  # noqa: PLR2004
        return LLMRefusedError("The language model refuses the request; its configuration needs a look.")
    error = LLMUnavailableError("The language model is busy or out of order. Please try again in a moment.")
    retry_after = connection.headers.get(b"retry-after", b"")
    if retry_after.isdigit():
        error.retry_after_seconds = float(retry_after)
    return error
