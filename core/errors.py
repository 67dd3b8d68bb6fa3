"""Errors with a name, and their one form over HTTP: problem details (RFC 9457).

Imports nothing of DRF, which imports this through the classes that its settings name.
"""

from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views import defaults

from core.requests import request_id

PROBLEM_TYPE = "application/problem+json"
API_PREFIX = "/api/"


class PasokhError(Exception):
    """A rule of the product said no; the message tells the caller what to do.

    Subclasses name the HTTP status and a stable ``code`` that programs may rely on. ``pointer`` is the RFC 6901 path
    of the field that it is about, if it is about one.
    """

    status = 400
    code = "error"
    headers: Mapping[str, str] = {}  # sent with the problem, such as Retry-After

    def __init__(self, message: str = "", *, pointer: str = "") -> None:
        super().__init__(message)
        self.pointer = pointer


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
