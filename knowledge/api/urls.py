"""``/api/v1/``: documents and search; every address works with and without a trailing slash."""

from core.addresses import either_slash
from knowledge.api.views import DocumentViewSet, SearchViewSet

urlpatterns = [
    *either_slash("documents", DocumentViewSet.as_view({"get": "list"}), "documents"),
    *either_slash("documents/<uuid:pk>", DocumentViewSet.as_view({"get": "retrieve", "delete": "destroy"}), "document"),
    *either_slash("search", SearchViewSet.as_view({"post": "create"}), "search"),
]
