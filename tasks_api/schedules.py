"""The periodic tasks of beat: when each ran, when it runs next, and whether it is late."""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from tasks_api.retrying import publish_by_name

LATE_AFTER = timedelta(seconds=60)  # beat looks every five seconds; a minute is somebody's fault


@dataclass(frozen=True)
class Schedule:
    """A periodic task as it stands; ``when`` is the schedule in words, with its time zone."""

    id: int
    name: str
    task: str
    queue: str
    when: str
    enabled: bool
    last_run_at: datetime | None
    next_run_at: datetime | None
    is_late: bool
    total_run_count: int


def all_schedules() -> list[Schedule]:
    rows = PeriodicTask.objects.select_related("interval", "crontab", "solar", "clocked").order_by("name")
    return [describe(row) for row in rows]


def describe(row: PeriodicTask) -> Schedule:
    next_run_at = next_run(row)
    return Schedule(
        id=row.pk,
        name=row.name,
        task=row.task,
        queue=row.queue or "",
        when=in_words(row),
        enabled=row.enabled,
        last_run_at=row.last_run_at,
        next_run_at=next_run_at,
        is_late=next_run_at is not None and next_run_at < timezone.now() - LATE_AFTER,
        total_run_count=row.total_run_count,
    )


def in_words(row: PeriodicTask) -> str:
    if row.crontab:
        return f"{row.crontab.human_readable} ({row.crontab.timezone})"
    return str(row.interval or row.solar or row.clocked or "")


def next_run(row: PeriodicTask) -> datetime | None:
    """Return when the task is due, which lies in the past if it is late; None if it is disabled."""
    if not row.enabled:
        return None
    schedule = row.schedule
    since = row.last_run_at or row.date_changed
    zone = getattr(schedule, "tz", None)  # a crontab's hours are those of its zone
    remaining: timedelta = schedule.remaining_estimate(since.astimezone(zone) if zone else since)
    return (timezone.now() + remaining).replace(microsecond=0)


def run_now(row: PeriodicTask) -> str:
    """Publish the schedule's task now and return its id; its own rhythm stays.

    Raises:
        TaskUnknownError, BrokerUnavailableError: as `publish_by_name` does.
    """
    return publish_by_name(row.task, json.loads(row.kwargs or "{}"))


def set_enabled(row: PeriodicTask, *, enabled: bool) -> None:
    """Switch the schedule on or off. Switched on, it counts from now, not from its last run before."""
    row.enabled = enabled
    if enabled:
        row.last_run_at = timezone.now()
    row.save()
