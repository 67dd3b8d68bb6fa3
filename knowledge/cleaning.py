"""Taking away the rows of vector work that is long over."""

from datetime import timedelta

from django.conf import settings
from django.utils import timezone

from core.batches import Step
from core.states import OPEN_STATES, State
from knowledge.models import EmbeddingDeletion, FullSync, SyncItem


def forget_dead_letters(limit: int) -> int:
    """Delete old jobs that were given up; their documents stay, found by words, and a full sync tries them again."""
    old = SyncItem.objects.filter(state=State.FAILED, not_before__lt=_before()).order_by()
    return SyncItem.objects.filter(pk__in=list(old.values_list("pk", flat=True)[:limit])).delete()[0]


def forget_old_syncs(limit: int) -> int:
    """Delete what is kept of full syncs that ended long ago."""
    old = FullSync.objects.exclude(state__in=OPEN_STATES).filter(finished_at__lt=_before()).order_by()
    return FullSync.objects.filter(pk__in=list(old.values_list("pk", flat=True)[:limit])).delete()[0]


def forget_old_deletions(limit: int) -> int:
    """Delete what is kept of deletions of vectors that were done long ago."""
    old = EmbeddingDeletion.objects.exclude(state__in=OPEN_STATES).filter(finished_at__lt=_before()).order_by()
    return EmbeddingDeletion.objects.filter(pk__in=list(old.values_list("pk", flat=True)[:limit])).delete()[0]


TASKS: dict[str, Step] = {
    "dead_letters": forget_dead_letters,
    "full_syncs": forget_old_syncs,
    "embedding_deletions": forget_old_deletions,
}


def _before() -> object:
    return timezone.now() - timedelta(days=settings.TASKS_KEEP_FAILED_DAYS)
