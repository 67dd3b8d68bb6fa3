"""The ledger's rows: claimed by one UPDATE, fenced by a token, free again when the worker no longer renews its lease.

All times are the database's, the only clock that all processes share.
"""

import uuid
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, ClassVar, Self, TypeVar

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.db.models.expressions import CombinedExpression
from django.db.models.functions import Now

from core.jobs.presence import new_token
from core.states import State

CLAIMS_MAX = 3  # in a row that end without a word: the job may be what killed its workers
_Job_co = TypeVar("_Job_co", bound="Job", covariant=True)


def lease_end() -> CombinedExpression:
    """Return when a lease that is taken or renewed now ends."""
    return Now() + timedelta(seconds=settings.JOB_LEASE_SECONDS)


class JobQuerySet(models.QuerySet[_Job_co]):
    """How jobs of one kind are claimed, kept and fenced; a model whose rows differ says so here."""

    TAKEN: ClassVar[dict[str, Any]] = {"state": State.RUNNING}
    LEASE: ClassVar[str] = "lease_until"
    ATTEMPTS: ClassVar[str] = "attempts"
    CLAIMS: ClassVar[str] = "attempts"  # the column that counts claims without an outcome
    CLAIMS_MAX: ClassVar[int] = CLAIMS_MAX
    CLAIMED_WITH: ClassVar[tuple[str, ...]] = ("tenant",)
    IS_TAKEN_AHEAD: ClassVar[bool] = False  # workers take many of its messages before they have claimed their jobs
    AT_ONCE: ClassVar[dict[str, Any]] = {}  # what besides lets the sweeper ring for a free job without a pause

    def leased(self) -> Self:
        """Jobs that a living worker holds now."""
        return self.filter(state=State.RUNNING, **{f"{self.LEASE}__gte": Now()})

    def lost(self) -> Self:
        """Jobs whose worker stopped renewing its lease."""
        return self.filter(state=State.RUNNING, **{f"{self.LEASE}__lt": Now()})

    def free(self) -> Self:
        """Jobs that a worker may take now: queued, or lost by another."""
        return self.filter(Q(state=State.QUEUED) | Q(state=State.RUNNING, **{f"{self.LEASE}__lt": Now()}))

    def worn_out(self) -> Self:
        """Lost jobs that nobody may take any more; a sweeper closes them with a reason."""
        return self.lost().filter(**{f"{self.CLAIMS}__gte": self.CLAIMS_MAX})

    def takeable(self) -> Self:
        """Free jobs that are not worn out."""
        return self.free().filter(**{f"{self.CLAIMS}__lt": self.CLAIMS_MAX})

    def take(self, key: dict[str, Any], **values: Any) -> _Job_co | None:
        """Claim the one job that the key names and write the values, or return None if it is not free.

        One UPDATE decides, so of two deliveries of a message one wins. The new token fences whoever had it before.
        """
        return next(iter(self.take_all(key, **values)), None)

    def take_all(self, key: dict[str, Any], **values: Any) -> list[_Job_co]:
        """Claim those of the jobs that the key names which are free, under one token, as `take` does."""
        token = new_token()
        counts = {name: F(name) + 1 for name in {self.ATTEMPTS, self.CLAIMS}}
        claim = self.TAKEN | self.lease_values() | counts | {"lease_token": token} | values
        if not self.takeable().filter(**key).update(**claim):
            return []
        return list(self._again().select_related(*self.CLAIMED_WITH).filter(**key, lease_token=token))

    def held_by(self, job: "Job") -> Self:
        """The job's row while this claim holds it: what is updated through it is fenced."""
        return self.filter(pk=job.pk, lease_token=job.lease_token, **self.TAKEN)

    def hand_on(self) -> int:
        """End those of these claims that hold, as if their leases had ended now; the sweeper rings at once."""
        held = self.filter(**self.TAKEN, **{f"{self.LEASE}__gte": Now()}, lease_token__isnull=False)
        return held.update(**{self.LEASE: Now()}, **self.AT_ONCE)

    def renew(self, tokens: Iterable[uuid.UUID]) -> set[uuid.UUID]:
        """Renew these claims with one UPDATE; return the tokens of those that still hold."""
        wanted = set(tokens)
        mine = self.filter(lease_token__in=wanted, **self.TAKEN)
        if mine.update(**self.lease_values()) == len(wanted):
            return wanted
        return {token for token in mine.values_list("lease_token", flat=True) if token is not None}

    def stopped(self, tokens: Iterable[uuid.UUID]) -> Iterable[uuid.UUID] | None:
        """Return the tokens of claims that a person asked to end; None where nobody can."""
        return None

    def lease_values(self) -> dict[str, Any]:
        return {self.LEASE: lease_end()}

    def _again(self) -> Self:
        return type(self)(model=self.model, using=self.db)


class Job(models.Model):
    """A row that is a job. Its ``state`` and count of attempts are columns of the model itself."""

    UNCLAIMED: ClassVar[dict[str, Any]] = {"lease_token": None, "lease_until": None}
    OUTCOME: ClassVar[dict[str, Any]] = {}

    lease_token = models.UUIDField(null=True)
    lease_until = models.DateTimeField(null=True)

    class Meta:
        abstract = True

    def holds(self) -> Any:
        """Return the row as long as this claim is the one that holds it; an update through it is fenced."""
        return type(self)._default_manager.held_by(self)  # type: ignore[attr-defined]  # of JobQuerySet

    def hand_on(self) -> None:
        """End this claim now, as if its worker had died."""
        self.holds().hand_on()

    def let_go(self, **values: Any) -> bool:
        """Write the outcome and give the claim up; False if it was lost meanwhile, and then nothing is written."""
        return bool(self.holds().update(**self.UNCLAIMED | self.OUTCOME | values))


class RetriedJob(Job):
    """A job whose ``attempts`` also count failures that are no death: those are counted as ``claims`` of their own."""

    OUTCOME: ClassVar[dict[str, Any]] = {"claims": 0}

    claims = models.PositiveSmallIntegerField(default=0, db_default=0, editable=False)

    class Meta:
        abstract = True
