"""Keeping the ledger from Celery's signals: one small statement at each step of a task.

A failure here is a log line, never a failure of the work or of publishing. Publishing happens outside of
transactions (`core.enqueue`); inside of one, a savepoint keeps a failed statement from spoiling it.

A task that finds its row taken by another delivery returns False: the ledger then leaves the row to that one.
"""

import json
import uuid
from collections.abc import Callable
from contextlib import nullcontext
from functools import wraps
from typing import Any

import structlog
from billiard.exceptions import TimeLimitExceeded, WorkerLostError
from celery import signals, states
from django.db import connection, transaction
from django.utils.dateparse import parse_datetime

from core.continuing import GOES_ON
from core.postgres import prepared
from tasks_api.models import TaskState

log = structlog.get_logger(__name__)

NOT_OURS = False
ERROR_MAX_CHARS = 500
_PUBLISHED = """
    INSERT INTO tasks_api_taskrun AS row (id, tenant_id, name, queue, state, arguments, eta, retries, attempts,
        worker, error, request_id, created_at, queued_at)
    VALUES (%(id)s, %(tenant)s, %(name)s, %(queue)s, %(state)s, %(arguments)s, %(eta)s, %(retries)s, 0,
        '', '', %(request)s, clock_timestamp(), clock_timestamp())
    ON CONFLICT (id) DO UPDATE SET
        state = CASE WHEN excluded.retries > row.retries OR row.state = 'failed' THEN excluded.state
                     ELSE row.state END,
        finished_at = CASE WHEN row.state = 'failed' THEN NULL ELSE row.finished_at END,
        retries = greatest(row.retries, excluded.retries),
        eta = excluded.eta, queue = excluded.queue, queued_at = excluded.queued_at,
        tenant_id = coalesce(row.tenant_id, excluded.tenant_id)
"""
_STARTED = """
    UPDATE tasks_api_taskrun SET state = 'running', attempts = attempts + 1, started_at = clock_timestamp(),
        finished_at = NULL, error = '', worker = %(worker)s, worker_boot = %(boot)s
    WHERE id = %(id)s AND state IN ('queued', 'scheduled', 'failed') AND revoke_requested_at IS NULL
"""
# Another delivery has, or had, it: this one may be the successor of a dead worker, or a duplicate.
_STARTED_AGAIN = """
    UPDATE tasks_api_taskrun SET attempts = attempts + 1,
        worker = CASE WHEN state = 'running' THEN %(worker)s ELSE worker END,
        worker_boot = CASE WHEN state = 'running' THEN %(boot)s ELSE worker_boot END,
        state = CASE WHEN revoke_requested_at IS NULL THEN state ELSE 'revoked' END,
        finished_at = CASE WHEN revoke_requested_at IS NULL THEN finished_at
                           ELSE coalesce(finished_at, clock_timestamp()) END
    WHERE id = %(id)s RETURNING revoke_requested_at IS NOT NULL
"""
_STARTED_UNKNOWN = """
    INSERT INTO tasks_api_taskrun (id, tenant_id, name, queue, state, arguments, retries, attempts, worker, worker_boot,
        error, request_id, created_at, queued_at, started_at)
    VALUES (%(id)s, %(tenant)s, %(name)s, %(queue)s, 'running', %(arguments)s, %(retries)s, 1, %(worker)s, %(boot)s,
        '', %(request)s, clock_timestamp(), clock_timestamp(), clock_timestamp())
    ON CONFLICT (id) DO NOTHING
"""
_FINISHED = """
    UPDATE tasks_api_taskrun SET
        state = CASE WHEN revoke_requested_at IS NULL THEN %(state)s ELSE 'revoked' END,
        finished_at = clock_timestamp(), error = %(error)s
    WHERE id = %(id)s
"""
# The ledger is not the truth: its commits need not wait for the disk. Both go as one message, so as one transaction;
# inside a transaction of others this must not be said.
_WITHOUT_WAITING = "SET LOCAL synchronous_commit = off;"
_PUT_BACK = "UPDATE tasks_api_taskrun SET state = 'queued' WHERE id = %(id)s AND state = 'running'"
_REVOKED = """
    UPDATE tasks_api_taskrun SET state = 'revoked', finished_at = clock_timestamp(), error = %(error)s
    WHERE id = %(id)s AND state IN ('queued', 'scheduled', 'running')
"""


class ThisWorker:
    """This process's identity as a worker; children inherit it."""

    boot: uuid.UUID | None = None


def never_raise(receiver: Callable[..., None]) -> Callable[..., None]:
    """Log what goes wrong in the ledger; the task goes on without it."""

    @wraps(receiver)
    def receive(*args: Any, **kwargs: Any) -> None:
        try:
            receiver(*args, **kwargs)
        except Exception as exc:  # whatever it is, the work matters more
            log.warning("task ledger not written", step=receiver.__name__, error=f"{type(exc).__name__}: {exc}"[:300])

    return receive


def shown(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments as the ledger keeps them: ids and numbers as they are, anything else as None."""
    return {name: value if _is_id(value) else None for name, value in kwargs.items()}


def _is_id(value: Any) -> bool:
    if isinstance(value, bool | int | None):
        return True
    if not isinstance(value, str):
        return False
    try:
        uuid.UUID(value)
    except ValueError:
        return False
    return True


def _execute(sql: str, values: dict[str, Any]) -> list[tuple[Any, ...]] | int:
    """Run one statement; returns its rows if it returns any, else the count of rows it changed."""
    is_inside = connection.in_atomic_block
    guard = transaction.atomic() if is_inside else nullcontext()
    with guard, connection.cursor() as cursor:
        prepared.execute(cursor, sql if is_inside else _WITHOUT_WAITING + sql, values)
        return cursor.fetchall() if cursor.description else cursor.rowcount


def _uuid(text: Any) -> uuid.UUID | None:
    try:
        return uuid.UUID(str(text))
    except ValueError:
        return None


@never_raise
def published(sender: str, headers: dict[str, Any], body: Any, routing_key: str, **_kwargs: Any) -> None:
    """Register the task, before a worker can see its message."""
    task_id = _uuid(headers["id"])
    if task_id is None or connection.needs_rollback:
        return
    eta = parse_datetime(headers["eta"]) if isinstance(headers.get("eta"), str) else headers.get("eta")
    _execute(
        _PUBLISHED,
        {
            "id": task_id,
            "tenant": _uuid(headers.get("tenant_id")),
            "name": sender,
            "queue": routing_key,
            "state": TaskState.SCHEDULED if eta else TaskState.QUEUED,
            "arguments": json.dumps(shown(body[1])),
            "eta": eta,
            "retries": headers.get("retries") or 0,
            "request": str(headers.get("request_id", ""))[:64],
        },
    )


@never_raise
def started(task: Any, task_id: str, kwargs: dict[str, Any], **_kwargs: Any) -> None:
    """Note that this worker has it. A task that was revoked is marked so; `core.celery.Task` then skips it."""
    request = task.request
    headers = request.headers or {}
    values = {
        "id": _uuid(task_id),
        "worker": request.hostname,
        "boot": ThisWorker.boot,
        "tenant": _uuid(headers.get("tenant_id")),
        "name": task.name,
        "queue": (request.delivery_info or {}).get("routing_key", ""),
        "arguments": json.dumps(shown(kwargs)),
        "retries": request.retries,
        "request": str(headers.get("request_id", ""))[:64],
    }
    if values["id"] is None:
        return
    request.ledger_first = bool(_execute(_STARTED, values))
    if request.ledger_first:
        return
    again = _execute(_STARTED_AGAIN, values)
    if not again:
        _execute(_STARTED_UNKNOWN, values)
        request.ledger_first = True
    elif isinstance(again, list):
        request.is_revoked = again[0][0]


@never_raise
def finished(task: Any, task_id: str, retval: Any, state: str, **_kwargs: Any) -> None:
    """Note the end. A retry was noted when it was published; an ignored task is left as it is, one that goes on too."""
    if task.request.is_eager or retval is GOES_ON or state not in (states.SUCCESS, states.FAILURE):
        return
    values = {"id": _uuid(task_id), "state": TaskState.DONE, "error": ""}
    if values["id"] is None:
        return
    if state == states.SUCCESS and retval is NOT_OURS:
        if getattr(task.request, "ledger_first", False):
            _execute(_PUT_BACK, values)
        return
    if state == states.FAILURE:
        values |= {"state": TaskState.FAILED, "error": _described(retval)}
    _execute(_FINISHED, values)


@never_raise
def killed(sender: Any, task_id: str, exception: BaseException, **_kwargs: Any) -> None:
    """Note the end of a task whose process is gone; the worker's main process tells of it."""
    if isinstance(exception, WorkerLostError | TimeLimitExceeded):
        _execute(_FINISHED, {"id": _uuid(task_id), "state": TaskState.FAILED, "error": _described(exception)})
        connection.close()


@never_raise
def revoked(sender: Any, request: Any, terminated: bool, expired: bool, **_kwargs: Any) -> None:
    """Note that a worker dropped or killed the task; called in the worker's main process."""
    reason = "expired" if expired else "terminated" if terminated else ""
    _execute(_REVOKED, {"id": _uuid(request.id), "error": reason})
    connection.close()


def _described(exc: Any) -> str:
    return f"{type(exc).__name__}: {exc}"[:ERROR_MAX_CHARS]


def begin_worker(**_kwargs: Any) -> None:
    """Listen for starts only now: after Celery's own receiver, which closes the connection before each task."""
    ThisWorker.boot = uuid.uuid4()
    signals.task_prerun.connect(started, weak=False)


def connect() -> None:
    """Follow every task from here on. The end is heard before Celery's receiver closes the task's connection."""
    signals.before_task_publish.connect(published, weak=False)
    signals.task_postrun.connect(finished, weak=False)
    signals.task_failure.connect(killed, weak=False)
    signals.task_revoked.connect(revoked, weak=False)
    signals.worker_init.connect(begin_worker, weak=False)
