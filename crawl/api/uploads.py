"""Documents that are handed over as files (docs/api-resources.md)."""

from django.urls import reverse
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework.mixins import ListModelMixin, RetrieveModelMixin
from rest_framework.request import Request
from rest_framework.response import Response

from core.parsing import BoundedMultiPartParser
from crawl import services
from crawl.api.upload_serializers import UploadFilterSerializer, UploadInputSerializer, UploadSerializer
from crawl.models import Upload
from tenants.api.resources import ResourceViewSet
from tenants.scopes import Scope


@extend_schema_view(
    list=extend_schema(operation_id="upload_list", summary="List uploads", parameters=[UploadFilterSerializer]),
    retrieve=extend_schema(operation_id="upload", summary="Look at what became of an upload"),
)
class UploadViewSet(ListModelMixin, RetrieveModelMixin, ResourceViewSet):
    required_scope = Scope.SOURCES
    queryset = Upload.objects.defer("body")
    serializer_class = UploadSerializer
    parser_classes = [BoundedMultiPartParser]
    filters = UploadFilterSerializer

    @extend_schema(
        operation_id="upload_create",
        summary="Hand a document over as a file",
        description="It is read in the background: 202 with the upload's row, which names its document when that is "
        "done. A file of the same name, or with the same URL, takes the place of the document that was made before.",
        request={"multipart/form-data": UploadInputSerializer},
        responses={202: UploadSerializer},
    )
    def create(self, request: Request) -> Response:
        given = self.read(UploadInputSerializer)
        file = given.pop("file")
        upload = services.upload_document(
            tenant=self.tenant, body=file.read(), name=file.name, content_type=file.content_type or "", **given
        )
        return self.show(upload, status=202, location=reverse("upload", args=[upload.pk]))
