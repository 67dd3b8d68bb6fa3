"""``/api/v1/``: documents, search and syncing; every address works with and without a trailing slash."""

from core.addresses import either_slash
from knowledge.api.sync import FullSyncView, SyncDocumentViewSet, SyncStatusViewSet
from knowledge.api.views import DocumentViewSet, SearchViewSet

urlpatterns = [
    *either_slash("documents", DocumentViewSet.as_view({"get": "list"}), "documents"),
    *either_slash("documents/<uuid:pk>", DocumentViewSet.as_view({"get": "retrieve", "delete": "destroy"}), "document"),
    *either_slash("sync/trigger-full-sync", FullSyncView.as_view(), "sync-trigger-full-sync"),
    *either_slash(
        "sync/document/<uuid:pk>",
        SyncDocumentViewSet.as_view({"post": "create", "delete": "destroy"}),
        "sync-document",
    ),
    *either_slash("sync/status", SyncStatusViewSet.as_view({"get": "retrieve"}), "sync-status"),
    *either_slash("search", SearchViewSet.as_view({"post": "create"}), "search"),
]
