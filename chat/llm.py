"""The one door to a language model: any server that speaks OpenAI's chat completions.

The SDK's asynchronous client runs on an event loop of the calling thread, so that a silent model can be given up at
any moment: when the person presses Stop, at the deadline, or after too long a silence. Closing it closes the
connection, which is how a server learns that nobody listens.
"""

import asyncio
import logging
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from functools import cache
from typing import TypedDict

import httpx2
import openai
from django.conf import settings
from openai.types.chat import ChatCompletionMessageParam

from chat.errors import AnsweringError

log = logging.getLogger(__name__)

LOOK_EVERY_SECONDS = 0.25
RETRY_AFTER_MAX_SECONDS = 2.0


class LLMError(AnsweringError):
    code = "llm_error"


class LLMUnavailableError(LLMError):
    """The model did not take the question; the one second try failed too."""

    status = 503
    code = "llm_unavailable"


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


def stream(turns: list[Turn], *, should_stop: Callable[[], bool]) -> Iterator[str]:
    """Yield the model's text as it comes, an empty string at least every quarter second of silence.

    Ends early, without an error, once ``should_stop`` is true. One second try, only before the first text.

    Raises:
        LLMUnavailableError, LLMRefusedError, LLMTimeoutError, LLMBrokenStreamError: named after what happened.
    """
    deadline = time.monotonic() + settings.CHAT_ANSWER_DEADLINE_SECONDS
    with asyncio.Runner() as runner:
        try:
            yield from _try_twice(runner, turns, deadline, should_stop)
        finally:
            runner.run(_finish_generators())


def _try_twice(
    runner: asyncio.Runner, turns: list[Turn], deadline: float, should_stop: Callable[[], bool]
) -> Iterator[str]:
    has_begun = False
    for is_last_try in (False, True):
        try:
            for text in _watched(runner, _texts(turns), deadline, should_stop):
                has_begun = has_begun or bool(text)
                yield text
        except LLMUnavailableError as exc:
            if has_begun or is_last_try:
                raise
            yield from _pause(exc, should_stop)
        else:
            return


def _pause(error: LLMUnavailableError, should_stop: Callable[[], bool]) -> Iterator[str]:
    wait = min(getattr(error.__cause__, "retry_after", None) or 0.5, RETRY_AFTER_MAX_SECONDS)
    until = time.monotonic() + wait
    while time.monotonic() < until and not should_stop():
        time.sleep(min(LOOK_EVERY_SECONDS, wait))
        yield ""


def _watched(
    runner: asyncio.Runner, texts: AsyncIterator[str], deadline: float, should_stop: Callable[[], bool]
) -> Iterator[str]:
    """Pull the texts through the loop, looking up between them; whatever ends it closes the connection."""
    silent_since = time.monotonic()
    patience = settings.LLM_FIRST_TOKEN_TIMEOUT_SECONDS
    waiting: asyncio.Task[str | None] | None = None
    try:
        while not should_stop():
            waiting = waiting or runner.get_loop().create_task(_next(texts))
            runner.run(_wait_briefly(waiting))
            now = time.monotonic()
            if waiting.done():
                text, waiting = waiting.result(), None
                if text is None:
                    return
                if text:
                    silent_since, patience = now, settings.LLM_IDLE_TIMEOUT_SECONDS
                yield text
            elif now - silent_since > patience or now > deadline:
                raise LLMTimeoutError("The language model took too long to answer.")
            else:
                yield ""
            if now > deadline:
                raise LLMTimeoutError("The language model took too long to answer.")
    finally:
        if waiting:
            runner.run(_cancel(waiting))


async def _next(texts: AsyncIterator[str]) -> str | None:
    return await anext(texts, None)


async def _wait_briefly(task: asyncio.Task[str | None]) -> None:
    await asyncio.wait([task], timeout=LOOK_EVERY_SECONDS)


async def _cancel(task: asyncio.Task[str | None]) -> None:
    task.cancel()
    await asyncio.wait([task], timeout=1)


async def _finish_generators() -> None:
    await asyncio.get_running_loop().shutdown_asyncgens()


async def _texts(turns: list[Turn]) -> AsyncIterator[str]:
    """Yield the texts of one call; every failure of SDK, network or protocol gets one of our names."""
    try:
        async for text in _call(turns):
            yield text
    except (openai.APITimeoutError, httpx2.TimeoutException) as exc:  # while connecting or sending
        raise LLMUnavailableError("The language model does not answer.") from exc
    except openai.APIStatusError as exc:
        raise _of_status(exc) from _with_retry_after(exc)
    except (openai.APIConnectionError, httpx2.HTTPError) as exc:
        raise LLMUnavailableError("The language model cannot be reached.") from exc
    except (openai.OpenAIError, ValueError, TypeError, AttributeError, KeyError, IndexError) as exc:
        raise LLMBrokenStreamError("The language model sent something that is not an answer.") from exc


async def _call(turns: list[Turn]) -> AsyncIterator[str]:
    messages: list[ChatCompletionMessageParam] = turns  # type: ignore[assignment]
    # Silence is watched by `_watched`, so that reading has no limit of its own here.
    timeout = httpx2.Timeout(settings.LLM_CONNECT_TIMEOUT_SECONDS, read=None)
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(httpx2.AsyncClient(verify=_ssl_context(), timeout=timeout))
        client = openai.AsyncOpenAI(
            base_url=settings.LLM_BASE_URL,
            api_key=settings.LLM_API_KEY or "none",
            http_client=http,
            max_retries=0,
            timeout=timeout,
        )
        chunks = await client.chat.completions.create(
            model=settings.LLM_MODEL or "default",
            messages=messages,
            stream=True,
            max_tokens=settings.LLM_MAX_TOKENS,
            temperature=0.1,
        )
        stack.push_async_callback(chunks.close)
        async for chunk in chunks:
            if not chunk.choices:
                continue
            choice = chunk.choices[0]
            if choice.delta is not None and choice.delta.content:
                yield str(choice.delta.content)
            if choice.finish_reason:
                return
    raise LLMBrokenStreamError("The language model stopped in the middle of its answer.")


def _of_status(exc: openai.APIStatusError) -> LLMError:
    log.warning("the language model answered with status %s", exc.status_code)
    if exc.status_code in (408, 409, 425, 429) or exc.status_code >= 500:  # noqa: PLR2004
        return LLMUnavailableError("The language model is busy or out of order. Please try again in a moment.")
    return LLMRefusedError("The language model refuses the request; its configuration needs a look.")


def _with_retry_after(exc: openai.APIStatusError) -> openai.APIStatusError:
    value = exc.response.headers.get("Retry-After", "")
    if value.isascii() and value.isdigit():
        exc.retry_after = float(value)  # type: ignore[attr-defined]
    return exc


@cache
def _ssl_context() -> ssl.SSLContext:
    """Return the system's trust, loaded once: loading it takes longer than asking."""
    return ssl.create_default_context()
