"""``/api/v1/``: websites, their crawls and pages; every address works with and without a trailing slash."""

from core.addresses import either_slash
from crawl.api.uploads import UploadViewSet
from crawl.api.versions import VersionViewSet
from crawl.api.views import CrawlViewSet, PageViewSet, WebsiteViewSet

urlpatterns = [
    *either_slash("websites", WebsiteViewSet.as_view({"get": "list", "post": "create"}), "websites"),
    *either_slash(
        "websites/<uuid:pk>",
        WebsiteViewSet.as_view({"get": "retrieve", "patch": "partial_update", "delete": "destroy"}),
        "website",
    ),
    *either_slash(
        "websites/<uuid:website_id>/crawls",
        CrawlViewSet.as_view({"get": "list", "post": "create"}),
        "website-crawls",
    ),
    *either_slash("websites/<uuid:website_id>/pages", PageViewSet.as_view({"get": "list"}), "website-pages"),
    *either_slash("uploads", UploadViewSet.as_view({"get": "list", "post": "create"}), "uploads"),
    *either_slash("uploads/<uuid:pk>", UploadViewSet.as_view({"get": "retrieve"}), "upload"),
    *either_slash("crawls/<uuid:pk>", CrawlViewSet.as_view({"get": "retrieve"}), "crawl"),
    *either_slash(
        "knowledge-versions",
        VersionViewSet.as_view({"get": "list", "post": "create", "delete": "destroy"}),
        "knowledge-versions",
    ),
    *either_slash("knowledge-versions/switch", VersionViewSet.as_view({"post": "switch"}), "knowledge-versions-switch"),
    *either_slash(
        "knowledge-versions/rollback", VersionViewSet.as_view({"post": "rollback"}), "knowledge-versions-rollback"
    ),
    *either_slash("crawls/<uuid:pk>/cancel", CrawlViewSet.as_view({"post": "cancel"}), "crawl-cancel"),
]
