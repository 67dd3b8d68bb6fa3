"""Conversations and their messages. A message row is the ledger of one question and its answer."""

import uuid

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from core.states import State
from tenants.models import EndUser, TenantOwned


class Conversation(TenantOwned):
    """A thread of questions by one end user, or by one member of the tenant's staff."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    end_user = models.ForeignKey(EndUser, on_delete=models.CASCADE, null=True, blank=True, related_name="conversations")
    member = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    title = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name = _("conversation")
        verbose_name_plural = _("conversations")

    def __str__(self) -> str:
        return self.title or str(self.id)


class Message(TenantOwned):
    """One question and its answer: accepted here first, delivered by a task, closed behind a fence.

    ``attempt`` and ``lease_token`` are the fence: only the worker that holds the token may write the answer.
    """

    class FinishReason(models.TextChoices):
        ANSWERED = "answered", _("answered")
        NOT_FOUND = "not_found", _("not in the site's content")
        STOPPED = "stopped", _("stopped")
        ERROR = "error", _("error")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    conversation = models.ForeignKey(Conversation, on_delete=models.CASCADE, related_name="messages")
    task_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    question = models.TextField()
    state = models.CharField(max_length=10, choices=State.choices, default=State.QUEUED)
    attempt = models.PositiveSmallIntegerField(default=0)
    lease_token = models.UUIDField(null=True)
    lease_until = models.DateTimeField(null=True)
    sent_at = models.DateTimeField(null=True)  # when the doorbell was last rung
    stop_requested_at = models.DateTimeField(null=True)
    answer = models.TextField(blank=True)  # Markdown with [n] citations
    citations = models.JSONField(default=list)  # [{n, url, title, quote}]
    finish_reason = models.CharField(max_length=10, choices=FinishReason.choices, blank=True)
    model = models.CharField(max_length=200, blank=True)  # "extractive", or the model's name
    error = models.TextField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True)  # of the attempt that answered
    first_token_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name = _("message")
        verbose_name_plural = _("messages")
        indexes = [
            models.Index(
                fields=["sent_at"], condition=models.Q(state__in=[State.QUEUED, State.RUNNING]), name="message_open"
            ),
            models.Index(fields=["conversation", "created_at"], name="message_in_conversation"),
        ]

    def __str__(self) -> str:
        return self.question[:60]
