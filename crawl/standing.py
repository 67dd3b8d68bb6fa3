"""Where a crawl stands: what tells one that waits for others from a slow one and from one that is stuck."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from core.states import State
from crawl.models import CrawlRun

STUCK_AFTER = timedelta(seconds=60)  # longer than a slice and one page of it may take (crawl.tasks)


class Condition(models.TextChoices):
    IN_LINE = "in_line", _("waits until other crawls of its tenant end")
    WAITING = "waiting", _("waits for a free worker")
    MOVING = "moving", _("is being worked on")
    PAUSING = "pausing", _("pauses, as the site or politeness asks")
    STUCK = "stuck", _("does not move; begins again by itself where it was")
    OVER = "over", _("is over")


@dataclass(frozen=True)
class Standing:
    """``place`` counts from 1 and is None unless the run waits; ``resumes_at`` is when it goes on at the latest."""

    condition: Condition
    place: int | None
    resumes_at: datetime | None


def standing(run: CrawlRun) -> Standing:
    """Return where the run stands among all."""
    condition = condition_of(run)
    resumes = {Condition.PAUSING: run.not_before, Condition.STUCK: run.send_at}
    return Standing(condition, _place(run, condition), resumes.get(condition))


def condition_of(run: CrawlRun) -> Condition:
    """Return the run's condition from its row alone."""
    now = timezone.now()
    if run.is_finished:
        return Condition.OVER
    if run.send_at is None:
        return Condition.IN_LINE
    if run.not_before is not None and run.not_before > now:
        return Condition.PAUSING
    if run.lease_until is None and not run.is_waiting:
        return Condition.WAITING
    is_dead = run.lease_until is not None and run.lease_until < now
    is_still = now - (run.moved_at or run.started_at or run.created_at) > STUCK_AFTER
    return Condition.STUCK if is_dead or is_still else Condition.MOVING


def _place(run: CrawlRun, condition: Condition) -> int | None:
    active = CrawlRun.objects.active()
    if condition == Condition.IN_LINE:
        line = active.filter(tenant=run.tenant_id, state=State.QUEUED, send_at=None, created_at__lt=run.created_at)
    elif condition == Condition.WAITING:
        due = Q(not_before=None) | Q(not_before__lte=timezone.now())
        line = active.filter(due, lease_until=None, is_waiting=False, send_at__lt=run.send_at)
    else:
        return None
    return 1 + line.count()
