"""How far a crawl is."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, Q
from django.utils import timezone

from crawl.models import CrawlRun, Page, Website
from crawl.standing import standing

_RATE_WINDOW_SECONDS = 60


@dataclass(frozen=True)
class CrawlProgress:
    """``counts`` has every page state; ``reasons`` and ``renderings`` those given so far; ``eta_seconds`` is None while
    unknown.

    ``condition``, ``place`` and ``resumes_at`` are those of `crawl.standing`; ``moved_at`` is when it last moved.
    """

    state: str
    stage: str
    condition: str
    place: int | None
    resumes_at: datetime | None
    moved_at: datetime | None
    is_finished: bool
    error: str
    counts: dict[str, int]
    unchanged: int
    dropped: int
    trapped: int
    pages_per_second: float
    eta_seconds: float | None
    reasons: dict[str, int] = field(default_factory=dict)
    renderings: dict[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def finished(self) -> int:
        return self.total - self.counts["queued"] - self.counts["fetched"]

    @property
    def pages_per_minute(self) -> float:
        return round(60 * self.pages_per_second, 1)


def progress(run: CrawlRun) -> CrawlProgress:
    """Return the run's progress as the database knows it now."""
    now = CrawlRun.objects.get(pk=run.pk)
    pages = Page.objects.filter(run=run)
    counts = dict.fromkeys(Page.State.values, 0)
    reasons, renderings = Counter[str](), Counter[str]()
    for row in pages.values("state", "reason", "rendering").annotate(count=Count("pk")).order_by():
        counts[row["state"]] += row["count"]
        reasons[row["reason"]] += row["count"]
        renderings[row["rendering"]] += row["count"]
    reasons.pop("", None)
    renderings.pop("", None)
    rate, where = _pages_per_second(now), standing(now)
    left = counts[Page.State.QUEUED] + counts[Page.State.FETCHED]
    return CrawlProgress(
        state=now.state,
        stage=now.stage,
        condition=where.condition,
        place=where.place,
        resumes_at=where.resumes_at,
        moved_at=now.moved_at,
        is_finished=now.is_finished,
        error=now.error,
        counts=counts,
        unchanged=reasons[Page.Reason.UNCHANGED],
        dropped=now.dropped_count,
        trapped=now.trapped_count,
        pages_per_second=rate,
        eta_seconds=left / rate if rate and not now.is_finished else None,
        reasons=dict(reasons),
        renderings=dict(renderings),
    )


def outcomes(website: Website) -> list[dict[str, Any]]:
    """Return ``{state, reason, text, count}`` for what came of the website's pages, the most frequent first."""
    rows = Page.objects.filter(website=website).values("state", "reason").annotate(count=Count("pk"))
    return [
        row | {"text": str(Page.Reason(row["reason"]).label) if row["reason"] else ""}
        for row in rows.order_by("-count", "state", "reason")
    ]


def _pages_per_second(run: CrawlRun) -> float:
    """Return the rate of the last seconds; of the whole run when it has ended."""
    if run.started_at is None:
        return 0.0
    end = run.finished_at or timezone.now()
    begin = run.started_at
    if run.finished_at is None:
        begin = max(begin, end - timedelta(seconds=_RATE_WINDOW_SECONDS))
    closed = Page.objects.filter(Q(fetched_at__gte=begin), run=run).exclude(state=Page.State.FETCHED).count()
    return closed / max((end - begin).total_seconds(), 0.1)
