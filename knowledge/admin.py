"""What the assistant knows, to be looked at: a page's text as it was read, its chunks, its wait for vectors."""

from django.contrib import admin

from core.record_admin import RecordAdmin
from knowledge.models import (
    Chunk,
    Document,
    EmbeddingDeletion,
    FullSync,
    KnowledgeVersion,
    SearchModel,
    SyncItem,
)


@admin.register(Document)
class DocumentAdmin(RecordAdmin):
    list_display = ["title", "url", "tenant", "language", "fetched_at"]
    list_filter = ["language"]
    list_select_related = ["tenant"]
    search_fields = ["title", "url"]


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


@admin.register(SearchModel)
class SearchModelAdmin(RecordAdmin):
    list_display = ["tenant", "model"]
    list_select_related = ["tenant"]


@admin.register(EmbeddingDeletion)
class EmbeddingDeletionAdmin(RecordAdmin):
    list_display = ["url", "tenant", "state", "chunk_count", "created_at", "finished_at"]
    list_filter = ["state"]
    list_select_related = ["tenant"]
