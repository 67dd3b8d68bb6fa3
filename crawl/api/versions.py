"""Versions of a tenant's knowledge over HTTP (docs/freshness.md)."""

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from crawl import versions
from knowledge.models import Document
from tenants.api.resources import ResourceViewSet
from tenants.scopes import Scope


class VersionInputSerializer(serializers.Serializer):
    recrawl = serializers.BooleanField(
        default=True, help_text="false: the texts as they are, with the settings' embedding model."
    )


class VersionSerializer(serializers.Serializer):
    version = serializers.ChoiceField(["live", "next", "previous"])
    created_at = serializers.DateTimeField(help_text="When it was begun, or took the place that it has now.")
    model = serializers.CharField(help_text="The embedding model that its searches compare by.")
    documents = serializers.IntegerField()
    chunks = serializers.IntegerField()
    to_copy = serializers.IntegerField(help_text="Documents of the live version that are still to be copied.")
    crawls = serializers.IntegerField(help_text="Crawls that are still active.")
    waiting = serializers.IntegerField(help_text="Documents that wait for vectors.")
    error = serializers.CharField(help_text="Why it was not copied, if it was given up: drop it then.")
    kept_until = serializers.DateTimeField(allow_null=True)
    is_ready = serializers.BooleanField()


class VersionsSerializer(serializers.Serializer):
    versions = VersionSerializer(many=True)


class VersionViewSet(ResourceViewSet):
    required_scope = Scope.SOURCES
    queryset = Document.objects.none()
    serializer_class = VersionsSerializer
    pagination_class = None

    @extend_schema(operation_id="version_list", summary="Look at the versions of the knowledge")
    def list(self, request: Request) -> Response:
        return self._all()

    @extend_schema(
        operation_id="version_prepare",
        summary="Prepare the next version of the knowledge",
        description="In the background, beside the live one, which goes on answering; what is uploaded, changed or "
        "deleted there from now on changes in both. 409 while there is one.",
        request=VersionInputSerializer,
        responses={202: VersionsSerializer},
    )
    def create(self, request: Request) -> Response:
        versions.prepare(self.tenant, **self.read(VersionInputSerializer))
        return self._all(status=202)

    @extend_schema(
        operation_id="version_switch",
        summary="Switch to the next version",
        description="What was live is kept as the previous version for some days. 409 while the next is not ready.",
        request=None,
    )
    def switch(self, request: Request) -> Response:
        versions.switch(self.tenant)
        return self._all()

    @extend_schema(
        operation_id="version_rollback",
        summary="Go back to the previous version",
        description="What was live becomes the next version again. Uploads and deletions since the switch stay.",
        request=None,
    )
    def rollback(self, request: Request) -> Response:
        versions.roll_back(self.tenant)
        return self._all()

    @extend_schema(operation_id="version_drop", summary="Drop the next version", responses={204: None})
    def destroy(self, request: Request) -> Response:
        versions.drop(versions.find(self.tenant, versions.NEXT))
        return Response(status=204)

    def _all(self, *, status: int = 200) -> Response:
        return self.show({"versions": versions.statuses(self.tenant)}, status=status)
