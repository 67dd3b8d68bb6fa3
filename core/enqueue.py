"""Publishing a task in a tenant's name. The row that asked for the work is the truth; the message only rings for it."""

import uuid
from functools import partial
from typing import Any

import structlog
from celery import Task, current_app
from django.db import transaction
from kombu.exceptions import OperationalError
from redis import RedisError

from core.errors import PasokhError

log = structlog.get_logger(__name__)

# One quick second try: a request waits here, and the sweeper rings again within seconds. Without a policy of its own
# a publish without a broker takes 6 s (kombu waits 2 s, then 4 s, to connect).
RETRY_POLICY = {"max_retries": 1, "interval_start": 0, "interval_step": 0.1, "interval_max": 0.1}
BROKER_ERRORS = (OperationalError, RedisError, OSError)


class BrokerUnavailableError(PasokhError):
    status = 503
    code = "broker_unavailable"
    headers = {"Retry-After": "5"}


def headers_for(tenant_id: Any) -> dict[str, str]:
    """Return the message headers that name the tenant, for code that publishes by itself."""
    return {"tenant_id": str(tenant_id)} if tenant_id else {}


def publish(
    task: Task | str,
    kwargs: dict[str, Any],
    *,
    tenant_id: Any = None,
    task_id: Any = None,
    level: int = 0,
    queue: str | None = None,
) -> bool:
    """Publish now; False, and a log line, if the broker is away: what waits for the task is sent again by its row.

    ``kwargs`` holds ids only. Without a tenant it is the platform's task, or that of the request's or task's tenant.
    A task that imports the caller is given by its name. ``level`` is one of `queues.LEVELS`: the least goes first.
    ``queue`` is another than the task's own.
    """
    name, send = (
        (task, partial(current_app.send_task, task)) if isinstance(task, str) else (task.name, task.apply_async)
    )
    elsewhere: dict[str, Any] = {"queue": queue} if queue else {}
    try:
        send(
            kwargs=kwargs,
            task_id=task_id and str(task_id),
            headers=headers_for(tenant_id),
            retry_policy=RETRY_POLICY,
            priority=level,
            **elsewhere,
        )
    except BROKER_ERRORS as exc:
        log.warning("task could not be sent to the workers", task_name=name, error=type(exc).__name__)
        return False
    return True


def send(
    task: Task | str, kwargs: dict[str, Any], *, tenant_id: Any = None, task_id: Any = None, level: int = 0
) -> str:
    """Publish once the transaction has committed, as `publish` does, and return the task's id at once."""
    chosen = str(task_id or uuid.uuid4())

    def ring() -> None:  # no partial: Django logs what a robust callback raises under its name
        publish(task, kwargs, tenant_id=tenant_id, task_id=chosen, level=level)

    transaction.on_commit(ring, robust=True)
    return chosen
