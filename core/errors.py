"""Errors with a name, and their one form over HTTP: problem details (RFC 9457)."""

from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views import defaults
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import exception_handler

from core.requests import request_id

PROBLEM_TYPE = "application/problem+json"
API_PREFIX = "/api/"


class PasokhError(Exception):
    """A rule of the product said no; the message tells the caller what to do.

    Subclasses name the HTTP status and a stable ``code`` that programs may rely on.
    """

    status = 400
    code = "error"
    headers: Mapping[str, str] = {}  # sent with the problem, such as Retry-After


def problem(status: int, code: str, detail: str, **extra: Any) -> dict[str, Any]:
    """Return the body of a problem: ``{type, title, status, code, detail, request_id, …}``."""
    body = {
        "type": "about:blank",
        "title": code.replace("_", " "),
        "status": status,
        "code": code,
        "detail": detail,
    }
    return body | ({"request_id": request_id()} if request_id() else {}) | extra


def problem_json(status: int, code: str, detail: str, **extra: Any) -> JsonResponse:
    return JsonResponse(problem(status, code, detail, **extra), status=status, content_type=PROBLEM_TYPE)


def problem_response(exc: Exception, context: dict[str, Any]) -> Response | None:
    """Turn any expected exception of an API view into a problem; None leaves a bug to be a 500."""
    if isinstance(exc, PasokhError):
        response = Response(problem(exc.status, exc.code, str(exc)), status=exc.status, headers=dict(exc.headers))
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


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    if request.path.startswith(API_PREFIX):
        return problem_json(400, "bad_request", "The request is malformed.")
    return defaults.bad_request(request, exception)


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    if request.path.startswith(API_PREFIX):
        return problem_json(403, "permission_denied", "This is not allowed.")
    return defaults.permission_denied(request, exception)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    if request.path.startswith(API_PREFIX):
        return problem_json(404, "not_found", "There is nothing at this address.")
    return defaults.page_not_found(request, exception)


def server_error(request: HttpRequest) -> HttpResponse:
    if request.path.startswith(API_PREFIX):
        return problem_json(500, "server_error", "This went wrong on our side; the request id finds it in the logs.")
    return defaults.server_error(request)
