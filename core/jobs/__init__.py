"""Work that must not be lost: each job is a row, held by one worker at a time under a lease (docs/ledger.md)."""

from core.jobs.closing import closed_on_bug
from core.jobs.forgetting import has_forgotten
from core.jobs.keeping import Lease, kept
from core.jobs.presence import new_token
from core.jobs.ringing import doubled_gap, ring_each
from core.jobs.rows import CLAIMS_MAX, Job, JobQuerySet, RetriedJob, lease_end

__all__ = [
    "CLAIMS_MAX",
    "Job",
    "JobQuerySet",
    "Lease",
    "RetriedJob",
    "closed_on_bug",
    "doubled_gap",
    "has_forgotten",
    "kept",
    "lease_end",
    "new_token",
    "ring_each",
]
