"""Documents and search over HTTP (docs/api-resources.md)."""

from typing import Any

from django.db.models import Q, QuerySet
from django.utils.encoding import iri_to_uri
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework.mixins import ListModelMixin
from rest_framework.request import Request
from rest_framework.response import Response

from knowledge import services, vector_state
from knowledge.api.serializers import (
    DocumentDetailSerializer,
    DocumentFilterSerializer,
    DocumentSerializer,
    FoundSerializer,
    SearchInputSerializer,
)
from knowledge.models import Document
from knowledge.search import search
from tenants.api.resources import ResourceViewSet
from tenants.scopes import Scope


@extend_schema_view(
    list=extend_schema(operation_id="document_list", summary="List documents", parameters=[DocumentFilterSerializer]),
)
class DocumentViewSet(ListModelMixin, ResourceViewSet):
    required_scope = Scope.SOURCES
    queryset = Document.objects.all()
    serializer_class = DocumentSerializer

    def get_queryset(self) -> Any:
        return vector_state.with_counts(super().get_queryset())

    def filter_queryset(self, queryset: QuerySet) -> QuerySet:
        if self.action != "list":
            return queryset
        wanted = self.read_query(DocumentFilterSerializer)
        if "website" in wanted:
            read_from = Document.objects.for_tenant(self.tenant).filter(pages__website=wanted["website"])
            queryset = queryset.filter(pk__in=read_from.values("pk"))
        if "url" in wanted:
            queryset = queryset.filter(url=iri_to_uri(wanted["url"]))
        if "q" in wanted:
            begins = Q(title__istartswith=wanted["q"]) | Q(url__startswith=iri_to_uri(wanted["q"]))
            queryset = queryset.filter(begins)
        return queryset.defer("content")

    @extend_schema(
        operation_id="document",
        summary="Look a document up",
        description="With its text, and where its vectors stand.",
        responses=DocumentDetailSerializer,
    )
    def retrieve(self, request: Request, pk: str) -> Response:
        return Response(DocumentDetailSerializer(self.get_object()).data)

    @extend_schema(
        operation_id="document_delete",
        summary="Delete a document",
        description="With its chunks and vectors. The next crawl reads the page again, unless the website excludes it.",
        responses={204: None},
    )
    def destroy(self, request: Request, pk: str) -> Response:
        services.remove_page(tenant=self.tenant, url=self.get_object().url)
        return Response(status=204)


class SearchViewSet(ResourceViewSet):
    required_scope = Scope.SOURCES
    queryset = Document.objects.all()
    serializer_class = FoundSerializer
    pagination_class = None

    @extend_schema(
        operation_id="search",
        summary="Try a search",
        description="The passages that an answer would be written from, the best first, with what ranked them.",
        request=SearchInputSerializer,
        responses=FoundSerializer,
    )
    def create(self, request: Request) -> Response:
        return self.show({"passages": search(tenant=self.tenant, **self.read(SearchInputSerializer))})
