"""Vectors over HTTP: make all anew, make or delete a document's (docs/knowledge.md)."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from knowledge import services, sync_report
from knowledge.api.sync_serializers import (
    EmbeddingDeletionStartedSerializer,
    FullSyncInputSerializer,
    FullSyncStartedSerializer,
    ResyncedSerializer,
    SyncReportSerializer,
)
from knowledge.models import Document
from tenants.api.resources import ResourceViewSet
from tenants.authentication import Operator
from tenants.permissions import Callers
from tenants.scopes import Scope


class FullSyncView(APIView):
    required_scope = Scope.SOURCES
    callers = Callers.BOTH

    @extend_schema(
        operation_id="sync_trigger_full_sync",
        summary="Make all vectors anew",
        description="Searches go on meanwhile. With the embedding model changed in the settings, this changes to it. "
        "While one is open, its id is returned. An operator's key does it for every tenant.",
        request=FullSyncInputSerializer,
        responses={202: FullSyncStartedSerializer},
    )
    def post(self, request: Request) -> Response:
        given = FullSyncInputSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        caller: Any = request.user
        if isinstance(caller, Operator):
            return Response({"task_id": services.start_full_sync_of_all(**given.validated_data)}, status=202)
        run = services.start_full_sync(tenant=caller.tenant, **given.validated_data)
        return Response({"task_id": run.pk}, status=202)


class SyncDocumentViewSet(ResourceViewSet):
    required_scope = Scope.SOURCES
    queryset = Document.objects.defer("content")

    @extend_schema(
        operation_id="sync_document_delete",
        summary="Delete a document's embeddings",
        description="Its passages are no longer found, by meaning or by words. The document keeps its row and its "
        "text; no crawl brings the passages back, only `POST` to this address does.",
        responses={202: EmbeddingDeletionStartedSerializer},
    )
    def destroy(self, request: Request, pk: str) -> Response:
        deletion = services.delete_document_embeddings(document=self.get_object())
        return Response({"task_id": deletion.pk}, status=202)

    @extend_schema(
        operation_id="sync_document",
        summary="Make a document's embeddings anew",
        description="Its passages are found by words at once and by meaning soon, also where they had been deleted.",
        request=None,
        responses={202: ResyncedSerializer},
    )
    def create(self, request: Request, pk: str) -> Response:
        item = services.resync_document(document=self.get_object())
        return Response(ResyncedSerializer(item).data, status=202)


class SyncStatusViewSet(ResourceViewSet):
    required_scope = Scope.SOURCES
    queryset = Document.objects.none()
    serializer_class = SyncReportSerializer
    pagination_class = None

    @extend_schema(operation_id="sync_status", summary="Look at where vectors stand", responses=SyncReportSerializer)
    def retrieve(self, request: Request) -> Response:
        return self.show(sync_report.report(self.tenant))
