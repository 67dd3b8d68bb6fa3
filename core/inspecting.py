"""What the workers say of themselves: for reports and hints, never for what the product decides."""

from typing import Any

from core.celery import app

# Celery's own way asks three times, for six seconds, before it says that there is no broker.
_AT_ONCE = {"max_retries": 1, "interval_start": 0.1}


def active_queues(*, seconds: float) -> dict[str, list[dict[str, Any]]]:
    """Return the queues that each worker reads, by its name, of those who answer in time.

    Raises:
        kombu.exceptions.OperationalError, redis.RedisError: if no broker answers.
    """
    return _answers("active_queues", seconds)


def stats(*, seconds: float) -> dict[str, dict[str, Any]]:
    """Return Celery's counts of each worker, by its name, of those who answer in time; raises as `active_queues`."""
    return _answers("stats", seconds)


def _answers(question: str, seconds: float) -> dict[str, Any]:
    options = app.conf.broker_transport_options | _AT_ONCE
    with app.connection_for_write(transport_options=options) as connection:
        inspect = app.control.inspect(timeout=seconds, connection=connection)
        answers: dict[str, Any] | None = getattr(inspect, question)()
    return answers or {}
