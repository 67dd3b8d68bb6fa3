"""The request id: one word that joins an answer, its log lines, and the tasks it started.

The id lives in structlog's context. The middleware sets it for a request; publishing a task copies it into the
message; a worker takes it from there, so what a task publishes in turn carries it on. The tenant travels the same
way (docs/http-conventions.md).
"""

import re
import uuid
from typing import Any

from asgiref.sync import iscoroutinefunction
from celery import signals
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.decorators import sync_and_async_middleware
from structlog.contextvars import (
    bind_contextvars,
    bound_contextvars,
    clear_contextvars,
    get_contextvars,
)

HEADER = "X-Request-Id"
SANE_ID = re.compile(r"[A-Za-z0-9._:-]{8,64}")
CARRIED = ("request_id", "tenant_id")  # from the context into messages, and back


def request_id() -> str:
    """Return the id of the request being served or continued; empty outside of one."""
    return str(get_contextvars().get("request_id", ""))


def bind_tenant(tenant_id: Any) -> None:
    """Name the tenant in whose name this request or task acts; None forgets it."""
    bind_contextvars(tenant_id=str(tenant_id) if tenant_id else None)


def id_for(request: HttpRequest) -> str:
    """Return the caller's own id if it is sane, else a new one; anything else could forge log lines."""
    given = request.headers.get(HEADER, "")
    return given if SANE_ID.fullmatch(given) else str(uuid.uuid4())


@sync_and_async_middleware
def request_id_middleware(get_response: Any) -> Any:
    """Accept or make the request id, and emit it with the answer."""

    async def serve_async(request: HttpRequest) -> HttpResponseBase:
        # Not unbound afterwards: a stream is sent after this returns, and the context ends with the request's task.
        clear_contextvars()
        bind_contextvars(request_id=id_for(request))
        current = request_id()
        response: HttpResponseBase = await get_response(request)
        response[HEADER] = current
        return response

    def serve(request: HttpRequest) -> HttpResponseBase:
        with bound_contextvars(request_id=id_for(request), tenant_id=None):
            response: HttpResponseBase = get_response(request)
            response[HEADER] = request_id()
            return response

    return serve_async if iscoroutinefunction(get_response) else serve


@signals.before_task_publish.connect
def add_to_message(headers: dict[str, Any], **_kwargs: Any) -> None:
    """Let the message carry on what the context holds and its sender did not name."""
    context = get_contextvars()
    for name in CARRIED:
        if context.get(name):
            headers.setdefault(name, context[name])


@signals.task_prerun.connect
def take_from_message(task: Any, task_id: str, **_kwargs: Any) -> None:
    """Bind what the message carries, and nothing of the task before it, for this task's log lines."""
    if task.request.is_eager:
        return
    clear_contextvars()
    carried = {name: value for name in CARRIED if (value := (task.request.headers or {}).get(name))}
    bind_contextvars(task=task.name, task_id=task_id, **carried)
