"""Who calls the API: the tenant, or the platform's operator, behind the ``X-API-Key`` header."""

from dataclasses import dataclass
from functools import partial

from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from core.database import outlast
from core.requests import bind_tenant
from tenants.models import APIKey, Tenant

HEADER = "X-API-Key"


@dataclass(frozen=True)
class Caller:
    """The authenticated party of a request: a tenant, never a person."""

    tenant: Tenant
    api_key: APIKey
    is_authenticated: bool = True


@dataclass(frozen=True)
class Operator:
    """The holder of an operator's key: runs the platform, acts for no tenant."""

    api_key: APIKey
    tenant: None = None
    is_authenticated: bool = True


class APIKeyAuthentication(BaseAuthentication):
    def authenticate(self, request: Request) -> tuple[Caller | Operator, APIKey] | None:
        text = request.headers.get(HEADER)
        if text is None:
            return None
        key = outlast(partial(APIKey.objects.find, text))
        if key is None:
            raise AuthenticationFailed("The API key is not valid or has been revoked.")
        bind_tenant(key.tenant_id)
        if key.tenant is None:
            return Operator(api_key=key), key
        return Caller(tenant=key.tenant, api_key=key), key

    def authenticate_header(self, request: Request) -> str:
        return HEADER
