"""``/api/v1/``: keys, end users, usage and webhooks; every address works with and without a trailing slash."""

from core.addresses import either_slash
from tenants.api.views import APIKeyViewSet, EndUserViewSet, UsageViewSet
from tenants.api.webhook_views import DeliveryViewSet, EndpointViewSet

ENDPOINT = "webhooks/endpoints/<uuid:pk>"
DELIVERY = "webhooks/deliveries/<uuid:pk>"

urlpatterns = [
    *either_slash("api-keys", APIKeyViewSet.as_view({"get": "list", "post": "create"}), "api-keys"),
    *either_slash("api-keys/<uuid:pk>", APIKeyViewSet.as_view({"get": "retrieve", "delete": "destroy"}), "api-key"),
    *either_slash("end-users", EndUserViewSet.as_view({"get": "list"}), "end-users"),
    *either_slash(
        "end-users/<uuid:pk>", EndUserViewSet.as_view({"get": "retrieve", "patch": "partial_update"}), "end-user"
    ),
    *either_slash(
        "end-users/<uuid:pk>/reset-limit", EndUserViewSet.as_view({"post": "reset_limit"}), "end-user-reset-limit"
    ),
    *either_slash("usage", UsageViewSet.as_view({"get": "retrieve"}), "usage"),
    *either_slash(
        "webhooks/endpoints", EndpointViewSet.as_view({"get": "list", "post": "create"}), "webhook-endpoints"
    ),
    *either_slash(
        ENDPOINT,
        EndpointViewSet.as_view({"get": "retrieve", "patch": "partial_update", "delete": "destroy"}),
        "webhook-endpoint",
    ),
    *either_slash(
        f"{ENDPOINT}/rotate-secret", EndpointViewSet.as_view({"post": "rotate_secret"}), "webhook-endpoint-rotate"
    ),
    *either_slash(f"{ENDPOINT}/test", EndpointViewSet.as_view({"post": "test"}), "webhook-endpoint-test"),
    *either_slash(f"{ENDPOINT}/replay", EndpointViewSet.as_view({"post": "replay"}), "webhook-endpoint-replay"),
    *either_slash("webhooks/deliveries", DeliveryViewSet.as_view({"get": "list"}), "webhook-deliveries"),
    *either_slash(DELIVERY, DeliveryViewSet.as_view({"get": "retrieve"}), "webhook-delivery"),
    *either_slash(f"{DELIVERY}/replay", DeliveryViewSet.as_view({"post": "replay"}), "webhook-delivery-replay"),
]
