"""What may be done with tenants: their people and keys, what they may use, what they are told."""

from tenants.services.notifications import mark_read, notify, unread_notifications
from tenants.services.people import add_member, create_api_key, create_operator_key, create_tenant, get_end_user
from tenants.services.usage import (
    allowance,
    fix_tier,
    release_tier,
    remove_tier_rule,
    reserve_question,
    reset_limit,
    set_tier_rule,
    settle_question,
)
from tenants.services.webhooks import (
    create_endpoint,
    disable_endpoint,
    emit,
    enable_endpoint,
    replay_delivery,
    replay_event,
    replay_range,
    rotate_secret,
    send_test_event,
    update_endpoint,
)

__all__ = [
    "add_member",
    "allowance",
    "create_api_key",
    "create_endpoint",
    "create_operator_key",
    "create_tenant",
    "disable_endpoint",
    "emit",
    "enable_endpoint",
    "fix_tier",
    "get_end_user",
    "mark_read",
    "notify",
    "release_tier",
    "remove_tier_rule",
    "replay_delivery",
    "replay_event",
    "replay_range",
    "reserve_question",
    "reset_limit",
    "rotate_secret",
    "send_test_event",
    "set_tier_rule",
    "settle_question",
    "unread_notifications",
    "update_endpoint",
]
