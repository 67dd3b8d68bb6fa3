"""What may be done with tenants: their people and keys, what they may use, what they are told."""

from tenants.services.people import add_member, create_api_key, create_operator_key, create_tenant, get_end_user

__all__ = [
    "add_member",
    "create_api_key",
    "create_operator_key",
    "create_tenant",
    "get_end_user",
]
