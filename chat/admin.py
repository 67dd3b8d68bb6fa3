"""Conversations, to be looked at: who asked what, what was answered, and how long it took."""

from django.contrib import admin

from chat.models import CachedAnswer, Conversation, Message
from core.record_admin import RecordAdmin


@admin.register(Conversation)
class ConversationAdmin(RecordAdmin):
    list_display = ["title", "tenant", "member", "end_user", "created_at", "archived_at"]
    list_select_related = ["tenant", "member", "end_user"]
    search_fields = ["title"]


@admin.register(Message)
class MessageAdmin(RecordAdmin):
    list_display = ["question", "tenant", "state", "finish_reason", "model", "wait", "created_at"]
    list_filter = ["state", "finish_reason", "rating"]
    list_select_related = ["tenant"]
    search_fields = ["question"]
    exclude = ["lease_token"]

    @admin.display(description="queue_wait_ms")
    def wait(self, message: Message) -> int | None:
        return message.milliseconds_until(message.started_at)


@admin.register(CachedAnswer)
class CachedAnswerAdmin(RecordAdmin):
    list_display = ["key", "tenant", "model", "finish_reason", "created_at", "used_at", "expires_at"]
    list_filter = ["finish_reason"]
    list_select_related = ["tenant"]
