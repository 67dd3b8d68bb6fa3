"""Exceptions of API views as problem details (RFC 9457)."""

from typing import Any

from django.db import OperationalError
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import exception_handler

from core.errors import PROBLEM_TYPE, PasokhError, problem


def problem_response(exc: Exception, context: dict[str, Any]) -> Response | None:
    """Turn any expected exception of an API view into a problem; None leaves a bug to be a 500."""
    if isinstance(exc, PasokhError):
        fields = [{"pointer": exc.pointer, "code": exc.code, "detail": str(exc)}] if exc.pointer else None
        body = problem(exc.status, exc.code, str(exc), **({"errors": fields} if fields else {}))
        response = Response(body, status=exc.status, headers=dict(exc.headers))
    elif isinstance(exc, OperationalError):
        response = Response(
            problem(503, "busy", "The service is busy or its database away. Ask again in a few seconds."),
            status=503,
            headers={"Retry-After": "5"},
        )
    else:
        default = exception_handler(exc, context)
        if default is None:
            return None
        response = default
        response.data = _describe(exc, response)
    response.content_type = PROBLEM_TYPE
    return response


def _describe(exc: Exception, response: Response) -> dict[str, Any]:
    if isinstance(exc, exceptions.ValidationError):
        return problem(
            response.status_code, "invalid", "The request has invalid fields.", errors=_flatten(exc.get_full_details())
        )
    detail = response.data.get("detail", "") if isinstance(response.data, dict) else ""
    code = getattr(detail, "code", "error")
    return problem(response.status_code, code, str(detail))


def _flatten(details: Any, pointer: str = "") -> list[dict[str, str]]:
    """Return a flat list of ``{pointer, code, detail}``, the pointer being an RFC 6901 path into the body."""
    if isinstance(details, dict) and "message" in details and "code" in details:
        return [{"pointer": pointer or "/", "code": str(details["code"]), "detail": str(details["message"])}]
    if isinstance(details, dict):
        return [error for key, value in details.items() for error in _flatten(value, f"{pointer}/{key}")]
    return [error for value in details for error in _flatten(value, pointer)]
