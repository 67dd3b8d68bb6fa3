"""The periodic tasks that a new installation starts with; from then on the rows in the database decide.

Adding one is one line here. Times are UTC.
"""

from dataclasses import dataclass
from datetime import timedelta

from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

from core import queues


@dataclass(frozen=True)
class Schedule:
    """A row to seed: either ``every`` or ``crontab`` (minute and hour, as in ``"0 2"`` for 02:00 daily).

    ``name`` tells rows of the same task apart; empty, it is the task's.
    """

    task: str
    queue: str
    every: timedelta | None = None
    crontab: str = ""
    name: str = ""

    @property
    def row_name(self) -> str:
        return self.name or self.task

    @property
    def period_seconds(self) -> int:
        """Return the length of a period: a message older than that has been overtaken by the next."""
        if self.every:
            return int(self.every.total_seconds())
        return 3600 if self.crontab.endswith(" *") else 24 * 3600


SCHEDULES = (
    Schedule("knowledge.process_sync_queue", queues.LOW_PRIORITY, every=timedelta(minutes=5)),
    Schedule("knowledge.index_vectors_task", queues.LOW_PRIORITY, every=timedelta(minutes=10)),
    Schedule("tenants.reset_all_daily_limits", queues.DEFAULT, crontab="0 0"),
    Schedule(  # midnight comes at other times where other tenants are; a day that has begun is begun once
        "tenants.reset_all_daily_limits",
        queues.DEFAULT,
        every=timedelta(minutes=15),
        name="tenants.reset_all_daily_limits, other time zones",
    ),
    Schedule("tenants.send_usage_statistics", queues.DEFAULT, crontab="0 *"),
    Schedule("tasks_api.cleanup_old_cache", queues.LOW_PRIORITY, crontab="0 */6"),
    Schedule("chat.cleanup_query_cache", queues.LOW_PRIORITY, crontab="0 2"),
    Schedule("chat.cleanup_old_conversations", queues.LOW_PRIORITY, crontab="30 2"),
    Schedule("tasks_api.cleanup_failed_tasks", queues.LOW_PRIORITY, crontab="30 3"),
)


def seed() -> list[str]:
    """Create the rows that are missing and return their names; a row that exists is never changed.

    ``last_run_at`` is set, because an interval task without it starts counting anew with each restart of beat.
    """
    return [schedule.row_name for schedule in SCHEDULES if _create(schedule)]


def _create(schedule: Schedule) -> bool:
    when = {"interval": _interval(schedule.every)} if schedule.every else {"crontab": _crontab(schedule.crontab)}
    _row, created = PeriodicTask.objects.get_or_create(
        name=schedule.row_name,
        defaults=when
        | {
            "task": schedule.task,
            "queue": schedule.queue,
            "expire_seconds": schedule.period_seconds,
            "last_run_at": timezone.now(),
        },
    )
    return created


def _interval(every: timedelta) -> IntervalSchedule:
    row, _created = IntervalSchedule.objects.get_or_create(
        every=int(every.total_seconds()), period=IntervalSchedule.SECONDS
    )
    return row


def _crontab(text: str) -> CrontabSchedule:
    minute, hour = text.split()
    row, _created = CrontabSchedule.objects.get_or_create(
        minute=minute, hour=hour, day_of_week="*", day_of_month="*", month_of_year="*", timezone="UTC"
    )
    return row
