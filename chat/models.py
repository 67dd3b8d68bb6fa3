"""Conversations and their messages. A message row is the ledger of one question and its answer."""

import uuid
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, ClassVar, Self

from django.conf import settings
from django.db import connection, models
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from core.jobs import Job, JobQuerySet, doubled_gap, new_token
from core.postgres import prepared
from core.postgres.columns import Columns, update
from core.states import State
from tenants.models import EndUser, Tenant, TenantOwned, TenantOwnedQuerySet

OPEN_STATES = (State.QUEUED, State.RUNNING)
RESEND_GAP_MAX = timedelta(seconds=30)


class Conversation(TenantOwned):
    """A thread of questions by one end user, or by one member of the tenant's staff."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    end_user = models.ForeignKey(EndUser, on_delete=models.CASCADE, null=True, blank=True, related_name="conversations")
    member = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    title = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    archived_at = models.DateTimeField(null=True, editable=False)  # by the tenant's retention; a new question ends it

    class Meta:
        verbose_name = _("conversation")
        verbose_name_plural = _("conversations")
        indexes = [
            models.Index(fields=["tenant", "created_at"], condition=Q(archived_at=None), name="conversation_kept"),
            models.Index(
                fields=["tenant", "archived_at"], condition=Q(archived_at__isnull=False), name="conversation_archived"
            ),
        ]

    def __str__(self) -> str:
        return self.title or str(self.id)


class MessageQuerySet(TenantOwnedQuerySet["Message"], JobQuerySet["Message"]):  # type: ignore[override]
    ATTEMPTS = CLAIMS = "attempt"
    CLAIMED_WITH = ("tenant", "conversation")
    AT_ONCE: ClassVar = {"sent_at": None}
    IS_TAKEN_AHEAD = True

    def held(self) -> Self:
        """Queued messages for which no doorbell is on its way: refused for lack of room, or never sent."""
        return self.filter(state=State.QUEUED, sent_at=None)

    def oldest_held(self, tenant_id: uuid.UUID) -> tuple[uuid.UUID, uuid.UUID] | None:
        """Return the id and the task's id of the tenant's oldest `held` message; by hand, for every answer asks."""
        with connection.cursor() as cursor:
            prepared.execute(cursor, _OLDEST_HELD, [tenant_id])
            row: tuple[uuid.UUID, uuid.UUID] | None = cursor.fetchone()
        return row

    def unheard(self) -> Self:
        """Open messages that nobody works on although their doorbell was rung long enough ago."""
        free_since = models.Case(models.When(state=State.RUNNING, then=F("lease_until")), default=F("created_at"))
        least = timedelta(seconds=settings.CHAT_RESEND_AFTER_SECONDS)
        gap = doubled_gap(F("sent_at") - free_since, first=least, most=RESEND_GAP_MAX)
        return self.free().filter(Q(sent_at=None) | Q(sent_at__lt=Now() - gap))

    def claim(self, message_id: uuid.UUID | str) -> "Message | None":
        """Take the message for this worker, or return None if it is not free or its tenant has no room.

        The room of a tenant is counted under a lock, so that parallel claims cannot overdraw it; a message refused
        for room becomes `held`.
        """
        claimed = _claim(message_id)
        if claimed is None:
            self.filter(pk=message_id, state=State.QUEUED).update(sent_at=None)
        return claimed

    def mark_sent(self, message_ids: list[uuid.UUID]) -> int:
        """Note that the doorbell of these held messages is rung now; returns how many were still held."""
        return self.held().filter(pk__in=message_ids).update(sent_at=Now())

    def stopped(self, _tokens: Iterable[uuid.UUID]) -> list[uuid.UUID]:
        """Return the tokens of all claims that a person asked to end: nearly always none, whoever holds them."""
        with connection.cursor() as cursor:  # by hand: each worker looks twice a second
            prepared.execute(cursor, _STOPPED)
            return [token for (token,) in cursor.fetchall()]


class Message(TenantOwned, Job):
    """One question and its answer: accepted here first, delivered by a task, closed behind a fence.

    ``attempt`` and ``lease_token`` are the fence: only the worker that holds the token may write the answer.
    """

    class FinishReason(models.TextChoices):
        ANSWERED = "answered", _("answered")
        NOT_FOUND = "not_found", _("not in the site's content")
        STOPPED = "stopped", _("stopped")
        ERROR = "error", _("error")

    class Rating(models.TextChoices):
        UP = "up", _("helpful")
        DOWN = "down", _("not helpful")

    class Note(models.TextChoices):
        """What the tenant's budget of tokens made of the answer."""

        SHORTER = "shorter", _("from the best passages alone: the day's tokens are nearly used up")
        USED_UP = "used_up", _("quoted: the day's tokens are used up")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    conversation = models.ForeignKey(Conversation, on_delete=models.CASCADE, related_name="messages")
    task_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    question = models.TextField()
    state = models.CharField(max_length=10, choices=State.choices, default=State.QUEUED)
    attempt = models.PositiveSmallIntegerField(default=0)
    sent_at = models.DateTimeField(null=True)  # when the doorbell was last rung; null: no doorbell on its way
    stop_requested_at = models.DateTimeField(null=True)
    answer = models.TextField(blank=True)  # Markdown with [n] citations
    citations = models.JSONField(default=list)  # [{n, url, title, quote, fetched_at}]
    finish_reason = models.CharField(max_length=10, choices=FinishReason.choices, blank=True)
    model = models.CharField(max_length=200, blank=True)  # "extractive", "greeting", or the model's name
    is_cached = models.BooleanField(default=False)  # the answer was made for the same question earlier
    error_code = models.CharField(max_length=40, blank=True)
    error = models.TextField(blank=True)  # for the person who asked
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True)  # of the attempt that answered
    first_token_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    rating = models.CharField(max_length=4, choices=Rating.choices, blank=True, default="", db_default="")
    rated_at = models.DateTimeField(null=True)
    note = models.CharField(max_length=8, choices=Note.choices, blank=True, default="", db_default="")
    prompt_tokens = models.PositiveIntegerField(default=0, db_default=0)  # estimated
    answer_tokens = models.PositiveIntegerField(default=0, db_default=0)
    held_tokens = models.PositiveIntegerField(default=0, db_default=0)  # reserved, until it is over
    cost_micros = models.PositiveBigIntegerField(default=0, db_default=0)  # millionths of the prices' currency

    is_first = False  # in its conversation, as far as the claim knows

    objects: ClassVar = MessageQuerySet.as_manager()

    class Meta:
        verbose_name = _("message")
        verbose_name_plural = _("messages")
        indexes = [
            models.Index(fields=["sent_at"], condition=Q(state__in=OPEN_STATES), name="message_open"),
            models.Index(fields=["tenant", "created_at"], condition=Q(state__in=OPEN_STATES), name="message_waiting"),
            models.Index(fields=["lease_token"], condition=Q(state=State.RUNNING), name="message_leased"),
            models.Index(fields=["conversation", "created_at"], name="message_in_conversation"),
        ]

    def __str__(self) -> str:
        return str(self.id)

    def let_go(self, **values: Any) -> bool:
        """Close the row, as of any job; by hand, for every answer ends so."""
        held = {"id": self.pk, "lease_token": self.lease_token} | MessageQuerySet.TAKEN
        return bool(update(Message, held, self.UNCLAIMED | self.OUTCOME | values))

    @property
    def is_over(self) -> bool:
        return self.state not in OPEN_STATES

    def milliseconds_until(self, moment: datetime | None) -> int | None:
        """Return the time from the question to the moment, or None if that has not come."""
        return None if moment is None else max(0, round((moment - self.created_at).total_seconds() * 1000))


class CachedAnswer(TenantOwned):
    """An answer kept for the next one who asks the tenant's assistant the same (chat/query_cache.py).

    ``key`` is a digest of everything that the answer was made from, the tenant included; the question itself is not
    kept. ``basis`` is the part of it that is the same for all tenants: code, model and settings.
    """

    key = models.CharField(max_length=64)
    knowledge_version = models.PositiveBigIntegerField()
    basis = models.CharField(max_length=64)
    model = models.CharField(max_length=200)
    answer = models.TextField()
    citations = models.JSONField(default=list)
    finish_reason = models.CharField(max_length=10, choices=Message.FinishReason.choices)
    created_at = models.DateTimeField(auto_now_add=True)
    used_at = models.DateTimeField()  # to the hour
    expires_at = models.DateTimeField()

    class Meta:
        verbose_name = _("cached answer")
        verbose_name_plural = _("cached answers")
        constraints = [models.UniqueConstraint(fields=["tenant", "key"], name="cached_answer_once_per_tenant")]
        indexes = [
            models.Index(fields=["expires_at"], name="cached_answer_expiry"),
            models.Index(fields=["tenant", "used_at"], name="cached_answer_use"),
        ]

    def __str__(self) -> str:
        return f"{self.tenant} {self.key[:12]}"


_STOPPED = """
    SELECT lease_token FROM chat_message
    WHERE state = 'running' AND stop_requested_at IS NOT NULL AND lease_token IS NOT NULL
"""
_OLDEST_HELD = """
    SELECT id, task_id FROM chat_message WHERE tenant_id = %s AND state = 'queued' AND sent_at IS NULL
    ORDER BY created_at LIMIT 1
"""
_MESSAGE, _TENANT = Columns(Message, "message"), Columns(Tenant, "tenant")
_CONVERSATION = Columns(Conversation, "conversation")
# Both in one round trip, and so in one transaction; the second sees what others committed while the first waited.
# What makes a message free and its claim's values are those of `JobQuerySet.take`.
_CLAIM = f"""
    SELECT pg_advisory_xact_lock(hashtextextended('chat answers ' || tenant_id, 0))
    FROM chat_message WHERE id = %(id)s AND state IN ('queued', 'running');
    UPDATE chat_message message SET state = 'running', attempt = message.attempt + 1, lease_token = %(token)s,
        lease_until = statement_timestamp() + %(lease)s, started_at = statement_timestamp()
    FROM tenants_tenant tenant, chat_conversation conversation
    WHERE message.id = %(id)s AND message.attempt < %(attempts)s
        AND (message.state = 'queued' OR message.state = 'running' AND message.lease_until < statement_timestamp())
        AND %(room)s > (
            SELECT count(*) FROM chat_message other WHERE other.tenant_id = message.tenant_id
            AND other.state = 'running' AND other.lease_until >= statement_timestamp()
        )
        AND tenant.id = message.tenant_id AND conversation.id = message.conversation_id
    RETURNING {_MESSAGE}, {_TENANT}, {_CONVERSATION}, NOT EXISTS (
        SELECT FROM chat_message earlier
        WHERE earlier.conversation_id = message.conversation_id AND earlier.created_at < message.created_at
    )
"""  # noqa: S608 -- its parts are columns


def _claim(message_id: uuid.UUID | str) -> Message | None:
    """Claim the message as `JobQuerySet.take` does, if its tenant has room."""
    values = {
        "id": message_id,
        "token": new_token(),
        "lease": timedelta(seconds=settings.JOB_LEASE_SECONDS),
        "attempts": MessageQuerySet.CLAIMS_MAX,
        "room": settings.CHAT_ANSWERS_PER_TENANT,
    }
    with connection.cursor() as cursor:
        prepared.execute(cursor, _CLAIM, values)
        row = cursor.fetchone()
    if row is None:
        return None
    left = iter(row)
    message = _MESSAGE.take(left)
    message.tenant, message.conversation = _TENANT.take(left), _CONVERSATION.take(left)
    message.is_first = next(left)
    return message
