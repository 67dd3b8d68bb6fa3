"""Work that must not be lost: each job is a row, held by one worker at a time under a lease (docs/ledger.md)."""

from core.jobs.keeping import Lease, kept
from core.jobs.ringing import doubled_gap, ring_each
from core.jobs.rows import Job, JobQuerySet, lease_end

__all__ = ["Job", "JobQuerySet", "Lease", "doubled_gap", "kept", "lease_end", "ring_each"]
