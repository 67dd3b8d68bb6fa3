"""Who calls the API: the tenant behind the ``X-API-Key`` header."""

from dataclasses import dataclass

from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from tenants.models import APIKey, Tenant

HEADER = "X-API-Key"


@dataclass(frozen=True)
class Caller:
    """The authenticated party of a request: always a tenant, never a person."""

    tenant: Tenant
    api_key: APIKey
    is_authenticated: bool = True


class APIKeyAuthentication(BaseAuthentication):
    def authenticate(self, request: Request) -> tuple[Caller, APIKey] | None:
        text = request.headers.get(HEADER)
        if text is None:
            return None
        key = APIKey.objects.find(text)
        if key is None:
            raise AuthenticationFailed("The API key is not valid or has been revoked.")
        return Caller(tenant=key.tenant, api_key=key), key

    def authenticate_header(self, request: Request) -> str:
        return HEADER
