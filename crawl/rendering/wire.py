"""Messages between a worker and its renderer: the lengths of a JSON object and of what comes with it, then both."""

import json
import struct
from typing import IO, Any

_LENGTHS = struct.Struct(">II")
HEAD_MAX_BYTES = 64 * 1024


class BrokenWireError(Exception):
    """The other side has ended, or says what no honest one would."""


def send(stream: IO[bytes], head: dict[str, Any], body: bytes = b"") -> None:
    text = json.dumps(head).encode()
    try:
        stream.write(_LENGTHS.pack(len(text), len(body)) + text)
        stream.write(body)
        stream.flush()
    except (OSError, ValueError) as exc:
        raise BrokenWireError from exc


def receive(stream: IO[bytes], *, max_bytes: int) -> tuple[dict[str, Any], bytes]:
    """Return the next message.

    Raises:
        BrokenWireError: if there is none, or it is longer than allowed.
    """
    head_bytes, body_bytes = _LENGTHS.unpack(_read(stream, _LENGTHS.size))
    if head_bytes > HEAD_MAX_BYTES or body_bytes > max_bytes:
        raise BrokenWireError
    try:
        head = json.loads(_read(stream, head_bytes))
    except (ValueError, RecursionError) as exc:
        raise BrokenWireError from exc
    if not isinstance(head, dict):
        raise BrokenWireError
    return head, _read(stream, body_bytes)


def _read(stream: IO[bytes], length: int) -> bytes:
    data = stream.read(length)
    if len(data) < length:
        raise BrokenWireError
    return data
