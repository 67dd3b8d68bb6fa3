"""Ending the claims of processes that died, so that their jobs need not wait for the ends of the leases.

A lock that is gone is a hint and no more: a process that lives although its session ended is fenced by the tokens, like
any other that lost its leases. Where nothing is shown, as behind a pooler, the leases alone tell
(docs/adr/0006-dead-processes.md).
"""

import structlog
from django.apps import apps

from core.jobs import presence
from core.jobs.forgetting import forget
from core.jobs.rows import Job, JobQuerySet
from core.postgres import lasting

log = structlog.get_logger(__name__)


class Watch:
    """Who was there when the sweeper last looked."""

    def __init__(self) -> None:
        self._session = 0
        self._present: set[int] = set()

    def look(self, session: int, present: set[int]) -> set[int]:
        """Return those who are there no more.

        Once the session that looks is another, the server has been restarted and all locks with it: nobody is missed.
        """
        missed = self._present - present if session == self._session else set()
        self._session, self._present = session, present
        return missed


_watch = Watch()


def sweep() -> int:
    """Hand on the jobs of the processes that are gone; return how many."""
    return sum(map(_hand_on_jobs_of, _watch.look(*lasting.held(presence.LOCKS))))


def _hand_on_jobs_of(number: int) -> int:
    """End all claims of the process."""
    count = 0
    for model in apps.get_models():
        if issubclass(model, Job):
            jobs: JobQuerySet[Job] = model._default_manager.all()  # type: ignore[assignment]
            handed_on = jobs.filter(lease_token__range=presence.tokens_of(number)).hand_on()
            if handed_on and jobs.IS_TAKEN_AHEAD:
                forget(model._meta.app_label)
            count += handed_on
    if count:
        log.warning("a process died, and others take up its jobs", jobs=count)
    return count
