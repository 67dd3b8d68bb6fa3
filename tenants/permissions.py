"""Which key may call which view.

A view says ``required_scope`` (None: any key of a tenant) and ``callers``: who it is for. Unsaid, it is for tenants,
so a new view never meets a caller without one.
"""

from enum import Enum
from typing import Any

from rest_framework.exceptions import PermissionDenied
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from tenants.authentication import Caller, Operator


class Callers(Enum):
    TENANTS = "tenants"
    OPERATORS = "operators"
    BOTH = "both"


class KeyMayCall(BasePermission):
    """Lets a key pass that is of the right kind and has the view's scope; says by name what is missing."""

    def has_permission(self, request: Request, view: Any) -> bool:
        caller = request.user
        if not isinstance(caller, Caller | Operator):
            return False
        meant_for = getattr(view, "callers", Callers.TENANTS)
        if isinstance(caller, Operator):
            if meant_for is Callers.TENANTS:
                raise PermissionDenied(
                    "This address acts for a tenant; call it with a tenant's key.", "tenant_key_required"
                )
            return True
        if meant_for is Callers.OPERATORS:
            raise PermissionDenied("This address is for the platform's operators.", "operator_key_required")
        scope = getattr(view, "required_scope", None)
        if scope is not None and scope not in caller.api_key.scopes:
            raise PermissionDenied(f"This key lacks the scope “{scope}”.", "scope_missing")
        return True
