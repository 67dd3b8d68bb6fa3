"""The repair of lost doorbells and dead workers: trusts Postgres alone, runs every second in the sweeper process."""

import logging
import uuid
from datetime import datetime

from django.conf import settings
from django.db import transaction
from django.db.models import Count, F, QuerySet, Window
from django.db.models.functions import RowNumber
from django.utils import timezone

from chat import accounts, stream, tasks
from chat.models import Message
from chat.payload import message_body
from core.jobs import CLAIMS_MAX, has_forgotten, ring_each
from core.postgres.standing import AnyRow
from core.states import State

log = logging.getLogger(__name__)

LIMIT = 200
_work = AnyRow(Message.objects.free)


def sweep(*, limit: int = LIMIT) -> int:
    """Close messages that used up their attempts, ring again for those nobody heard; return how many of both."""
    if has_forgotten("chat"):
        Message.objects.free().update(sent_at=None)
    return close_worn_out(limit=limit) + ring_again(limit=limit) if _work.exists() else 0


def close_worn_out(*, limit: int) -> int:
    """Fail abandoned messages that several workers died on: they may be what killed them."""
    worn_out = Message.objects.worn_out()
    ids = list(worn_out.values_list("pk", flat=True)[:limit])
    for pk in ids:
        message = _close(worn_out, pk)
        if message is not None:
            log.error("message %s failed: attempts used up", pk)
            stream.append_end(pk, message.attempt, "error", message_body(message))
    return len(ids)


@transaction.atomic
def _close(worn_out: QuerySet[Message], pk: uuid.UUID) -> Message | None:
    closed = worn_out.filter(pk=pk).update(
        state=State.FAILED,
        finish_reason=Message.FinishReason.ERROR,
        error_code="attempts_used_up",
        error=f"Answering was cut off {CLAIMS_MAX} times. Please ask again.",
        finished_at=timezone.now(),
        **Message.UNCLAIMED,
    )
    if not closed:
        return None
    message = Message.objects.select_related("tenant").get(pk=pk)
    accounts.settle(message)
    return message


def ring_again(*, limit: int) -> int:
    """Ring for messages that are free although somebody was told; in turn between tenants, bounded in time.

    A row counts as rung only after the broker took it. While the broker is away, each call tries one row.
    """
    return ring_each(_due(limit), _ring_one)


def _due(limit: int) -> list[uuid.UUID]:
    full = (
        Message.objects.leased()
        .values("tenant")
        .annotate(running=Count("pk"))
        .filter(running__gte=settings.CHAT_ANSWERS_PER_TENANT)
        .values("tenant")
    )
    place = Window(RowNumber(), partition_by=F("tenant"), order_by=F("created_at").asc())
    due = Message.objects.unheard().exclude(state=State.QUEUED, tenant__in=full).annotate(place=place)
    return list(due.order_by("place", "created_at").values_list("pk", flat=True)[:limit])


def _ring_one(pk: uuid.UUID) -> bool:
    """Ring under the row's lock, so that two sweepers do not ring twice; False if the broker is away."""
    with transaction.atomic():
        locked = Message.objects.unheard().select_for_update(skip_locked=True, of=("self",)).filter(pk=pk)
        message = locked.only("pk", "task_id", "tenant_id", "attempt").first()
        if message is None:
            return True
        ring = tasks.ring_alone if message.attempt >= CLAIMS_MAX - 1 else tasks.ring
        if not ring(message.pk, message.task_id, message.tenant_id):
            return False
        now: datetime = timezone.now()
        Message.objects.filter(pk=pk).update(sent_at=now)
    return True
