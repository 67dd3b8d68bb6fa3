"""What a model's server says: server-sent events with OpenAI's chunks of a chat completion in them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

LINE_MAX_BYTES = 1_000_000
USAGE_MAX_TOKENS = 10_000_000


@dataclass(frozen=True)
class Usage:
    """What an answer took, as its server counts."""

    prompt_tokens: int
    answer_tokens: int


class Events:
    """The data of server-sent events, as bytes arrive."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the data of each event that is complete.

        Raises:
            ValueError: if a line is too long.
        """
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LINE_MAX_BYTES:
            raise ValueError("endless line")
        for line in lines:
            stripped = line.rstrip(b"\r")
            if stripped.startswith(b"data:"):
                self._data.append(stripped[5:].lstrip(b" "))
            elif not stripped and self._data:
                yield b"\n".join(self._data)
                self._data = []


def parsed(event: bytes) -> dict[str, Any]:
    """Return an event's data.

    Raises:
        ValueError: if it is no JSON.
    """
    try:
        return orjson.loads(event)
    except orjson.JSONDecodeError:  # among others half of a pair of surrogates, from a server that cuts between them
        return json.loads(event.decode())


def paired(text: str) -> str:
    """Return the text with its pairs of surrogates made one character each, and what has no other half replaced."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def usage_in(chunk: dict[str, Any]) -> Usage | None:
    """Return the tokens that an event reports; None for nonsense, which must not end an answer."""
    told = chunk.get("usage")
    if not isinstance(told, dict):
        return None
    counts: list[Any] = [told.get("prompt_tokens"), told.get("completion_tokens")]
    if not all(type(count) is int and 0 <= count <= USAGE_MAX_TOKENS for count in counts):
        return None
    return Usage(*counts)


def read(chunk: dict[str, Any]) -> tuple[str, bool]:
    """Return the text in one event and whether it is the answer's last.

    Raises:
        ValueError, TypeError, AttributeError, KeyError, IndexError, RecursionError: if it is none of the protocol's.
    """
    if chunk.get("error"):
        raise ValueError("the server reports an error")
    if not chunk.get("choices"):
        return "", False
    choice = chunk["choices"][0]
    text = (choice.get("delta") or {}).get("content") or ""
    if not isinstance(text, str):
        raise TypeError("content that is no text")
    return text, bool(choice.get("finish_reason"))
