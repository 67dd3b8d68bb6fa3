"""What the API's resources share: rows of the calling tenant, narrowed by the address (docs/api-resources.md)."""

from typing import Any, ClassVar

from django.db.models import QuerySet
from rest_framework.response import Response
from rest_framework.serializers import Serializer
from rest_framework.viewsets import GenericViewSet

from core.pagination import NewestFirst
from tenants.models import Tenant


class ResourceViewSet(GenericViewSet):
    """One noun. Another tenant's row is 404, and is so before the body is read.

    ``filters`` is the serializer of a list's query parameters; the ``source`` of each field is a lookup.
    """

    pagination_class: type[NewestFirst] | None = NewestFirst
    filters: ClassVar[type[Serializer] | None] = None

    @property
    def tenant(self) -> Tenant:
        caller: Any = self.request.user
        tenant: Tenant = caller.tenant
        return tenant

    def get_queryset(self) -> Any:
        rows: Any = super().get_queryset()
        return rows.for_tenant(self.tenant)

    def filter_queryset(self, queryset: QuerySet) -> QuerySet:
        if self.action != "list" or self.filters is None:
            return queryset
        return queryset.filter(**self.read_query(self.filters))

    def read(self, serializer_class: type[Serializer]) -> dict[str, Any]:
        """Return the valid body.

        Raises:
            ValidationError: with a pointer to each field that is not valid.
        """
        return _valid(serializer_class(data=self.request.data))

    def read_query(self, serializer_class: type[Serializer]) -> dict[str, Any]:
        """Return the valid query parameters, of a repeated one the last."""
        return _valid(serializer_class(data=self.request.query_params.dict()))

    def show(self, row: Any, *, status: int = 200, location: str = "") -> Response:
        headers = {"Location": self.request.build_absolute_uri(location)} if location else None
        return Response(self.get_serializer(row).data, status=status, headers=headers)


def _valid(serializer: Serializer) -> dict[str, Any]:
    serializer.is_valid(raise_exception=True)
    values: dict[str, Any] = serializer.validated_data
    return values
