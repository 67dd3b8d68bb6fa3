"""What the assistant knows, to be looked at: a page's text as it was read, its chunks, its wait for vectors."""

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from core.record_admin import RecordAdmin
from knowledge import services
from knowledge.models import (
    Chunk,
    Document,
    EmbeddingDeletion,
    FullSync,
    KnowledgeVersion,
    Refetch,
    SearchModel,
    SyncItem,
    VersionCopy,
)


@admin.register(Document)
class DocumentAdmin(RecordAdmin):
    list_display = ["title", "url", "tenant", "language", "fetched_at", "excluded_at"]
    list_filter = ["language"]
    list_select_related = ["tenant"]
    search_fields = ["title", "url"]
    actions = ["resync"]

    @admin.action(description=_("Make the vectors of the selected documents anew"))
    def resync(self, request: HttpRequest, queryset: QuerySet[Document]) -> None:
        for document in queryset:
            services.resync_document(document=document)
        self.message_user(request, _("%(count)s documents are queued.") % {"count": len(queryset)}, messages.SUCCESS)


@admin.register(Chunk)
class ChunkAdmin(RecordAdmin):
    list_display = ["document", "chunk_index", "heading_path", "embedding_model"]
    list_select_related = ["document"]
    search_fields = ["document__url", "heading_path"]
    exclude = ["embedding", "next_embedding", "search_vector"]


@admin.register(SyncItem)
class SyncItemAdmin(RecordAdmin):
    list_display = ["document", "tenant", "state", "attempts", "not_before", "error"]
    list_filter = ["state"]
    list_select_related = ["document", "tenant"]


@admin.register(KnowledgeVersion)
class KnowledgeVersionAdmin(RecordAdmin):
    list_display = ["tenant", "changes"]
    list_select_related = ["tenant"]


@admin.register(FullSync)
class FullSyncAdmin(RecordAdmin):
    list_display = ["tenant", "state", "stage", "model", "done", "total", "failed", "created_at", "finished_at"]
    list_filter = ["state", "stage"]
    list_select_related = ["tenant"]


@admin.register(VersionCopy)
class VersionCopyAdmin(RecordAdmin):
    list_display = ["tenant", "state", "is_whole", "done", "total", "attempts", "error", "created_at", "finished_at"]
    list_filter = ["state"]
    list_select_related = ["tenant"]


@admin.register(SearchModel)
class SearchModelAdmin(RecordAdmin):
    list_display = ["tenant", "model"]
    list_select_related = ["tenant"]


@admin.register(Refetch)
class RefetchAdmin(RecordAdmin):
    list_display = ["document", "tenant", "reason", "asked_at", "taken_at"]
    list_filter = ["reason"]
    list_select_related = ["document", "tenant"]


@admin.register(EmbeddingDeletion)
class EmbeddingDeletionAdmin(RecordAdmin):
    list_display = ["url", "tenant", "state", "chunk_count", "created_at", "finished_at"]
    list_filter = ["state"]
    list_select_related = ["tenant"]
