"""Keys, end users and usage over HTTP (docs/api-resources.md)."""

from typing import Any

from django.urls import reverse
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework.mixins import ListModelMixin, RetrieveModelMixin
from rest_framework.request import Request
from rest_framework.response import Response

from tenants import services
from tenants.api.resources import ResourceViewSet
from tenants.api.serializers import (
    APIKeyInputSerializer,
    APIKeySerializer,
    EndUserChangeSerializer,
    EndUserFilterSerializer,
    EndUserSerializer,
    EndUserTodaySerializer,
    NewAPIKeySerializer,
    QueuedSerializer,
    UsageQuerySerializer,
    UsageSerializer,
)
from tenants.idempotency import keep_without
from tenants.models import APIKey, EndUser, EndUserDay
from tenants.scopes import Scope


@extend_schema_view(
    list=extend_schema(operation_id="api_key_list", summary="List API keys"),
    retrieve=extend_schema(operation_id="api_key", summary="Look an API key up"),
)
class APIKeyViewSet(ListModelMixin, RetrieveModelMixin, ResourceViewSet):
    required_scope = Scope.ADMIN
    queryset = APIKey.objects.all()
    serializer_class = APIKeySerializer

    @extend_schema(
        operation_id="api_key_create",
        summary="Create an API key",
        description="The key is in this answer and nowhere else. It can hold only scopes that the calling key has.",
        request=APIKeyInputSerializer,
        responses={201: NewAPIKeySerializer},
    )
    def create(self, request: Request) -> Response:
        wanted = self.read(APIKeyInputSerializer)
        caller: Any = request.user
        row, text = services.grant_api_key(granter=caller.api_key, **wanted)
        response = self.show(row, status=201, location=reverse("api-key", args=[row.pk]))
        response.data |= {"key": text}
        return keep_without(response, "key")

    @extend_schema(
        operation_id="api_key_revoke",
        summary="Revoke an API key",
        description="It is refused from the next request on, and stays in the list. Safe to repeat.",
        responses={204: None},
    )
    def destroy(self, request: Request, pk: str) -> Response:
        self.get_object().revoke()
        return Response(status=204)


@extend_schema_view(
    list=extend_schema(operation_id="end_user_list", summary="List end users", parameters=[EndUserFilterSerializer]),
)
class EndUserViewSet(ListModelMixin, ResourceViewSet):
    required_scope = Scope.ADMIN
    queryset = EndUser.objects.select_related("tenant", "tier", "statistics")
    serializer_class = EndUserSerializer
    filters = EndUserFilterSerializer

    @extend_schema(
        operation_id="end_user",
        summary="Look an end user up",
        description="With what is left of today.",
        responses=EndUserTodaySerializer,
    )
    def retrieve(self, request: Request, pk: str) -> Response:
        return self._described(self.get_object())

    @extend_schema(
        operation_id="end_user_change",
        summary="Change an end user's tier or limit",
        request=EndUserChangeSerializer,
        responses=EndUserTodaySerializer,
    )
    def partial_update(self, request: Request, pk: str) -> Response:
        end_user = self.get_object()
        services.change_end_user(end_user=end_user, changes=self.read(EndUserChangeSerializer))
        return self._described(self.get_object())

    @extend_schema(
        operation_id="end_user_reset_limit",
        summary="Let an end user's day begin anew",
        request=None,
        responses={202: QueuedSerializer},
    )
    def reset_limit(self, request: Request, pk: str) -> Response:
        task_id = services.queue_limit_reset(end_user=self.get_object())
        location = request.build_absolute_uri(reverse("task-status", args=[task_id]))
        return Response({"task_id": task_id}, status=202, headers={"Location": location})

    def _described(self, end_user: EndUser) -> Response:
        today = services.allowance(tenant=self.tenant, end_user=end_user)
        end_user.today = today  # type: ignore[attr-defined]  # what the serializer shows beside the row
        return Response(EndUserTodaySerializer(end_user).data)


class UsageViewSet(ResourceViewSet):
    required_scope = Scope.ADMIN
    queryset = EndUserDay.objects.all()
    serializer_class = UsageSerializer
    pagination_class = None

    @extend_schema(
        operation_id="usage",
        summary="Questions per day",
        description="Every day of the range, by the tenant's calendar; at most 366 days.",
        parameters=[UsageQuerySerializer],
        responses=UsageSerializer,
    )
    def retrieve(self, request: Request) -> Response:
        return self.show(services.usage_by_day(tenant=self.tenant, **self.read_query(UsageQuerySerializer)))
