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

from core.states import State

_Job_co = TypeVar("_Job_co", bound="Job", covariant=True)


def lease_end() -> CombinedExpression:
    """Return when a lease that is taken or renewed now ends."""
    return Now() + timedelta(seconds=settings.JOB_LEASE_SECONDS)


class JobQuerySet(models.QuerySet[_Job_co]):
    """How jobs of one kind are claimed, kept and fenced; a model whose rows differ says so here."""

    TAKEN: ClassVar[dict[str, Any]] = {"state": State.RUNNING}
    LEASE: ClassVar[str] = "lease_until"
    ATTEMPTS: ClassVar[str] = "attempts"
    CLAIMED_WITH: ClassVar[tuple[str, ...]] = ("tenant",)

    def leased(self) -> Self:
        """Jobs that a living worker holds now."""
        return self.filter(state=State.RUNNING, **{f"{self.LEASE}__gte": Now()})

    def lost(self) -> Self:
        """Jobs whose worker stopped renewing its lease."""
        return self.filter(state=State.RUNNING, **{f"{self.LEASE}__lt": Now()})

    def free(self) -> Self:
        """Jobs that a worker may take now: queued, or lost by another."""
        return self.filter(Q(state=State.QUEUED) | Q(state=State.RUNNING, **{f"{self.LEASE}__lt": Now()}))

    def take(self, key: dict[str, Any], **values: Any) -> _Job_co | None:
        """Claim the one job that the key names and write the values, or return None if it is not free.

        One UPDATE decides, so of two deliveries of a message one wins. The new token fences whoever had it before.
        """
        return next(iter(self.take_all(key, **values)), None)

    def take_all(self, key: dict[str, Any], **values: Any) -> list[_Job_co]:
        """Claim those of the jobs that the key names which are free, under one token, as `take` does."""
        token = uuid.uuid4()
        attempts = {self.ATTEMPTS: F(self.ATTEMPTS) + 1}
        claim = self.TAKEN | self.lease_values() | attempts | {"lease_token": token} | values
        if not self.free().filter(**key).update(**claim):
            return []
        return list(self._again().select_related(*self.CLAIMED_WITH).filter(**key, lease_token=token))

    def held_by(self, job: "Job") -> Self:
        """The job's row while this claim holds it: what is updated through it is fenced."""
        return self.filter(pk=job.pk, lease_token=job.lease_token, **self.TAKEN)

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

    lease_token = models.UUIDField(null=True)
    lease_until = models.DateTimeField(null=True)

    class Meta:
        abstract = True

    def holds(self) -> Any:
        """Return the row as long as this claim is the one that holds it; an update through it is fenced."""
        return type(self)._default_manager.held_by(self)

    def let_go(self, **values: Any) -> bool:
        """Write the outcome and give the claim up; False if it was lost meanwhile, and then nothing is written."""
        return bool(self.holds().update(**self.UNCLAIMED | values))
