"""Create tenants, give them members, keys and end users."""

from collections.abc import Iterable
from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, transaction

from core.postgres import prepared
from core.postgres.columns import Columns, insert
from tenants.errors import ScopeInvalidError, ScopeNotHeldError, TenantExistsError, TenantInvalidError
from tenants.models import APIKey, EndUser, Membership, Tenant, hash_secret, new_secret
from tenants.scopes import Scope, all_scopes

_END_USER = Columns(EndUser, "person")
_FIND_END_USER = f"SELECT {_END_USER} FROM tenants_enduser person WHERE tenant_id = %s AND external_id = %s"  # noqa: S608


def create_tenant(*, slug: str, name: str = "", language: str = "en") -> Tenant:
    """Create a tenant.

    Raises:
        TenantInvalidError: if the slug is not lower-case letters, digits and hyphens, or the language unknown.
        TenantExistsError: if the slug is taken.
    """
    tenant = Tenant(slug=slug, name=name or slug, language=language)
    try:
        tenant.clean_fields()
    except ValidationError as exc:
        raise TenantInvalidError("; ".join(exc.messages)) from exc
    try:
        with transaction.atomic():
            tenant.save(force_insert=True)
    except IntegrityError as exc:
        raise TenantExistsError(f"A tenant with the slug “{slug}” exists.") from exc
    return tenant


def create_api_key(*, tenant: Tenant, name: str, scopes: Iterable[str] | None = None) -> tuple[APIKey, str]:
    """Create a key and return it with its full text, which is not kept and cannot be shown again.

    Raises:
        ScopeInvalidError: if a scope is not one of `Scope`; none given means all.
    """
    granted = all_scopes() if scopes is None else list(scopes)
    if unknown := sorted(set(granted) - set(Scope.values)):
        raise ScopeInvalidError(f"Unknown scope: {', '.join(unknown)}. There are: {', '.join(Scope.values)}.")
    return _new_key(tenant=tenant, name=name, scopes=granted)


def grant_api_key(*, granter: APIKey, name: str, scopes: Iterable[str] | None = None) -> tuple[APIKey, str]:
    """Create a key of the granter's tenant, as `create_api_key` does; without scopes it may what the granter may.

    Raises:
        ScopeNotHeldError: if a scope is asked for that the granter lacks.
    """
    if granter.tenant is None:
        raise ScopeNotHeldError("An operator's key acts for no tenant.")
    granted = sorted(set(granter.scopes if scopes is None else scopes))
    if lacking := sorted(set(granted) - set(granter.scopes)):
        raise ScopeNotHeldError(f"The calling key lacks: {', '.join(lacking)}.", pointer="/scopes")
    return create_api_key(tenant=granter.tenant, name=name, scopes=granted)


def create_operator_key(*, name: str) -> tuple[APIKey, str]:
    """Create a key for those who run the platform; it sees every task, worker and schedule."""
    return _new_key(tenant=None, is_operator=True, name=name, scopes=[])


def _new_key(**values: Any) -> tuple[APIKey, str]:
    public_id, secret = new_secret()
    key = APIKey.objects.create(public_id=public_id, secret_hash=hash_secret(secret), **values)
    return key, f"{APIKey.PREFIX}{public_id}.{secret}"


def add_member(*, tenant: Tenant, user: User, role: str = Membership.Role.STAFF) -> Membership:
    """Make the user a member, or leave an existing membership as it is."""
    membership, _created = Membership.objects.get_or_create(tenant=tenant, user=user, defaults={"role": role})
    return membership


def get_end_user(*, tenant: Tenant, external_id: str) -> EndUser:
    """Return the tenant's end user with this id, creating it at first sight."""
    with connection.cursor() as cursor:
        prepared.execute(cursor, _FIND_END_USER, [tenant.pk, external_id])
        row = cursor.fetchone()
    if row is not None:
        return _END_USER.take(iter(row))
    end_user = EndUser(tenant=tenant, external_id=external_id)
    if insert(end_user, unless_known=True):
        return end_user
    return EndUser.objects.get(tenant=tenant, external_id=external_id)  # another question of the same person was first
