"""Webhooks over HTTP: endpoints, their secrets, deliveries, replays (docs/api-resources.md)."""

from typing import Any

from django.urls import reverse
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework.mixins import ListModelMixin, RetrieveModelMixin
from rest_framework.request import Request
from rest_framework.response import Response

from tenants import services
from tenants.api.resources import ResourceViewSet
from tenants.api.webhook_serializers import (
    DeliveryDetailSerializer,
    DeliveryFilterSerializer,
    DeliverySerializer,
    EndpointChangeSerializer,
    EndpointInputSerializer,
    EndpointSerializer,
    NewEndpointSerializer,
    ReplayedSerializer,
    ReplayRangeSerializer,
    SecretSerializer,
)
from tenants.idempotency import keep_without
from tenants.models import WebhookDelivery, WebhookEndpoint
from tenants.scopes import Scope


@extend_schema_view(
    list=extend_schema(operation_id="webhook_endpoint_list", summary="List webhook endpoints"),
    retrieve=extend_schema(operation_id="webhook_endpoint", summary="Look a webhook endpoint up"),
)
class EndpointViewSet(ListModelMixin, RetrieveModelMixin, ResourceViewSet):
    required_scope = Scope.ADMIN
    queryset = WebhookEndpoint.objects.select_related("tenant")
    serializer_class = EndpointSerializer

    @extend_schema(
        operation_id="webhook_endpoint_create",
        summary="Create a webhook endpoint",
        description="The signing secret is in this answer; it is not shown again, but can be rotated.",
        request=EndpointInputSerializer,
        responses={201: NewEndpointSerializer},
    )
    def create(self, request: Request) -> Response:
        row, secret = services.create_endpoint(tenant=self.tenant, **self.read(EndpointInputSerializer))
        response = self.show(row, status=201, location=reverse("webhook-endpoint", args=[row.pk]))
        response.data |= {"secret": secret}
        return keep_without(response, "secret")

    @extend_schema(
        operation_id="webhook_endpoint_change",
        summary="Change a webhook endpoint, switch it off or on",
        description="While it is off nothing is sent; what was queued waits for it.",
        request=EndpointChangeSerializer,
        responses=EndpointSerializer,
    )
    def partial_update(self, request: Request, pk: str) -> Response:
        row = self.get_object()
        changes: dict[str, Any] = self.read(EndpointChangeSerializer)
        is_enabled = changes.pop("is_enabled", None)
        services.update_endpoint(endpoint=row, **changes)
        if is_enabled is not None:
            (services.enable_endpoint if is_enabled else services.disable_endpoint)(endpoint=row)
        return self.show(self.get_object())

    @extend_schema(
        operation_id="webhook_endpoint_delete",
        summary="Delete a webhook endpoint",
        description="Its deliveries and their log go with it, also those still to be sent.",
        responses={204: None},
    )
    def destroy(self, request: Request, pk: str) -> Response:
        services.remove_endpoint(endpoint=self.get_object())
        return Response(status=204)

    @extend_schema(
        operation_id="webhook_endpoint_rotate_secret",
        summary="Rotate a webhook endpoint's secret",
        description="The secret before stays valid for a day: deliveries carry both signatures.",
        request=None,
        responses=SecretSerializer,
    )
    def rotate_secret(self, request: Request, pk: str) -> Response:
        secret = services.rotate_secret(endpoint=self.get_object())
        until = self.get_object().previous_valid_until
        return keep_without(
            Response(SecretSerializer({"secret": secret, "previous_valid_until": until}).data), "secret"
        )

    @extend_schema(
        operation_id="webhook_endpoint_test",
        summary="Send a test event to a webhook endpoint",
        request=None,
        responses={202: DeliverySerializer},
    )
    def test(self, request: Request, pk: str) -> Response:
        return _queued(request, services.send_test_event(endpoint=self.get_object()))

    @extend_schema(
        operation_id="webhook_endpoint_replay",
        summary="Send a time span's events again",
        description="Those that the endpoint missed, or with `again` also those that arrived.",
        request=ReplayRangeSerializer,
        responses={202: ReplayedSerializer},
    )
    def replay(self, request: Request, pk: str) -> Response:
        row = self.get_object()
        count = services.replay_range(endpoint=row, **self.read(ReplayRangeSerializer))
        return Response({"count": count}, status=202)


@extend_schema_view(
    list=extend_schema(
        operation_id="webhook_delivery_list", summary="List webhook deliveries", parameters=[DeliveryFilterSerializer]
    ),
)
class DeliveryViewSet(ListModelMixin, ResourceViewSet):
    required_scope = Scope.ADMIN
    queryset = WebhookDelivery.objects.select_related("event", "endpoint")
    serializer_class = DeliverySerializer
    filters = DeliveryFilterSerializer

    @extend_schema(
        operation_id="webhook_delivery",
        summary="Look a webhook delivery up",
        description="With the event's payload and every attempt.",
        responses=DeliveryDetailSerializer,
    )
    def retrieve(self, request: Request, pk: str) -> Response:
        return Response(DeliveryDetailSerializer(self.get_object()).data)

    @extend_schema(
        operation_id="webhook_delivery_replay",
        summary="Send a webhook delivery again",
        description="With the same `webhook-id`, so a receiver that has it can tell.",
        request=None,
        responses={202: DeliverySerializer},
    )
    def replay(self, request: Request, pk: str) -> Response:
        return _queued(request, services.replay_delivery(delivery=self.get_object()))


def _queued(request: Request, delivery: WebhookDelivery) -> Response:
    location = request.build_absolute_uri(reverse("webhook-delivery", args=[delivery.pk]))
    return Response(DeliverySerializer(delivery).data, status=202, headers={"Location": location})
