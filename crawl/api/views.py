"""Websites, crawls and pages over HTTP (docs/api-resources.md)."""

import uuid
from dataclasses import asdict
from typing import Any

from django.shortcuts import get_object_or_404
from django.urls import reverse
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework.mixins import ListModelMixin
from rest_framework.request import Request
from rest_framework.response import Response

from crawl import services
from crawl.api.serializers import (
    CrawlFilterSerializer,
    CrawlProgressSerializer,
    CrawlSerializer,
    PageFilterSerializer,
    PageSerializer,
    WebsiteChangeSerializer,
    WebsiteDetailSerializer,
    WebsiteInputSerializer,
    WebsiteSerializer,
)
from crawl.models import CrawlRun, Page, Website
from tenants.api.resources import ResourceViewSet
from tenants.scopes import Scope


@extend_schema_view(
    list=extend_schema(operation_id="website_list", summary="List websites"),
)
class WebsiteViewSet(ListModelMixin, ResourceViewSet):
    required_scope = Scope.SOURCES
    queryset = Website.objects.select_related("tenant")
    serializer_class = WebsiteSerializer

    @extend_schema(
        operation_id="website",
        summary="Look a website up",
        description="With what came of its pages.",
        responses=WebsiteDetailSerializer,
    )
    def retrieve(self, request: Request, pk: str) -> Response:
        website = self.get_object()
        return Response(self.get_serializer(website).data | {"outcomes": services.outcomes(website)})

    @extend_schema(
        operation_id="website_create",
        summary="Add a website",
        description="The address is not visited before a crawl is started. One that is known already gets what is "
        "given here and is returned with status 200.",
        request=WebsiteInputSerializer,
        responses={200: WebsiteSerializer, 201: WebsiteSerializer},
    )
    def create(self, request: Request) -> Response:
        website, is_new = services.find_or_add_website(tenant=self.tenant, **self.read(WebsiteInputSerializer))
        return self.show(website, status=201 if is_new else 200, location=reverse("website", args=[website.pk]))

    @extend_schema(
        operation_id="website_change",
        summary="Change a website",
        description="The next crawl obeys the new patterns and limits.",
        request=WebsiteChangeSerializer,
        responses=WebsiteSerializer,
    )
    def partial_update(self, request: Request, pk: str) -> Response:
        website = self.get_object()
        return self.show(services.update_website(website=website, **self.read(WebsiteChangeSerializer)))

    @extend_schema(
        operation_id="website_delete",
        summary="Delete a website",
        description="Stops its crawl. Its crawls, its pages and the documents read from it are deleted for good; "
        "documents that another of your websites has as well stay. Conversations keep their answers.",
        responses={204: None},
    )
    def destroy(self, request: Request, pk: str) -> Response:
        services.remove_website(website=self.get_object())
        return Response(status=204)


class OfWebsiteViewSet(ListModelMixin, ResourceViewSet):
    """Rows of the website that the address names."""

    required_scope = Scope.SOURCES

    def get_queryset(self) -> Any:
        rows = super().get_queryset()
        return rows.filter(website=self.get_website()) if "website_id" in self.kwargs else rows

    def get_website(self) -> Website:
        websites = Website.objects.for_tenant(self.tenant).select_related("tenant")
        return get_object_or_404(websites, pk=self.kwargs["website_id"])


@extend_schema_view(
    list=extend_schema(
        operation_id="crawl_list", summary="List a website's crawls", parameters=[CrawlFilterSerializer]
    ),
)
class CrawlViewSet(OfWebsiteViewSet):
    queryset = CrawlRun.objects.select_related("tenant", "website")
    serializer_class = CrawlSerializer
    filters = CrawlFilterSerializer

    @extend_schema(
        operation_id="crawl_start",
        summary="Crawl a website",
        description="Pages that have not changed are skipped. 409 while a crawl of it is active.",
        request=None,
        responses={202: CrawlSerializer},
    )
    def create(self, request: Request, website_id: uuid.UUID) -> Response:
        run = services.start_crawl(website=self.get_website())
        return self.show(run, status=202, location=reverse("crawl", args=[run.pk]))

    @extend_schema(operation_id="crawl", summary="Look at a crawl's progress", responses=CrawlProgressSerializer)
    def retrieve(self, request: Request, pk: uuid.UUID) -> Response:
        return _progress(self.get_object())

    @extend_schema(
        operation_id="crawl_cancel",
        summary="Cancel a crawl",
        description="What was read stays. One that is over stays as it is; safe to repeat.",
        request=None,
        responses=CrawlProgressSerializer,
    )
    def cancel(self, request: Request, pk: uuid.UUID) -> Response:
        run = self.get_object()
        services.cancel_crawl(run=run)
        return _progress(run)


@extend_schema_view(
    list=extend_schema(
        operation_id="page_list",
        summary="List a website's pages",
        description="Each with its state and, where it is skipped or failed, the reason.",
        parameters=[PageFilterSerializer],
    ),
)
class PageViewSet(OfWebsiteViewSet):
    queryset = Page.objects.select_related("duplicate_of")
    serializer_class = PageSerializer
    filters = PageFilterSerializer


def _progress(run: CrawlRun) -> Response:
    now = services.progress(run)
    progress = asdict(now) | {"total": now.total, "finished": now.finished, "pages_per_minute": now.pages_per_minute}
    return Response(CrawlSerializer(run).data | {"progress": progress})
