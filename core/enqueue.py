"""Sending a task after the commit, in a tenant's name."""

import uuid
from functools import partial
from typing import Any

import structlog
from celery import Task
from django.db import transaction
from kombu.exceptions import KombuError, OperationalError

log = structlog.get_logger(__name__)


def send(task: Task, *, tenant_id: Any = None, task_id: Any = None, kwargs: dict[str, Any]) -> str:
    """Publish the task once the transaction has committed, and return its id at once.

    A broker that is away costs a log line, not the request: the row that asked for the work is the truth, and the
    sweeper sends it again. ``kwargs`` holds ids only; ``tenant_id`` says whose task it is, None a platform task.
    """
    chosen = str(task_id or uuid.uuid4())
    transaction.on_commit(partial(_publish, task, chosen, tenant_id, kwargs))
    return chosen


def headers_for(tenant_id: Any) -> dict[str, str]:
    """Return the message headers that name the tenant, for code that publishes by itself."""
    return {"tenant_id": str(tenant_id)} if tenant_id else {}


def _publish(task: Task, task_id: str, tenant_id: Any, kwargs: dict[str, Any]) -> None:
    try:
        task.apply_async(kwargs=kwargs, task_id=task_id, headers=headers_for(tenant_id))
    except (OperationalError, KombuError, OSError) as exc:
        log.error("task could not be sent", task=task.name, task_id=task_id, error=str(exc))
