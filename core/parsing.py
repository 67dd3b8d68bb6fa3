"""Reading a request's body, JSON or a form with a file: bounded, and nothing in it makes the parser fail loudly."""

import codecs
import json
from typing import Any

from django.conf import settings
from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser, MultiPartParser

from core.errors import PasokhError


class RequestTooLargeError(PasokhError):
    status = 413
    code = "request_too_large"


class BoundedJSONParser(BaseParser):
    media_type = "application/json"

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> Any:
        body = stream.read(settings.CHAT_REQUEST_MAX_BYTES + 1)
        if len(body) > settings.CHAT_REQUEST_MAX_BYTES:
            raise RequestTooLargeError(f"The request is larger than {settings.CHAT_REQUEST_MAX_BYTES} bytes.")
        try:
            return json.loads(body.removeprefix(codecs.BOM_UTF8).decode(), parse_constant=_refuse)
        except (ValueError, RecursionError) as exc:
            raise ParseError("The body is not valid JSON in UTF-8.") from exc


class BoundedMultiPartParser(MultiPartParser):
    """Forms with a file: refused by their announced length before a byte of them is read."""

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> Any:
        length = str((parser_context or {})["request"].META.get("CONTENT_LENGTH") or "0")
        if not length.isdigit() or int(length) > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
            raise RequestTooLargeError(f"The request is larger than {settings.DATA_UPLOAD_MAX_MEMORY_SIZE} bytes.")
        return super().parse(stream, media_type, parser_context)


def _refuse(constant: str) -> None:
    raise ValueError(constant)
