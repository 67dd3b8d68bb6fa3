"""Tasks that an operator may start by hand, by the client's names."""

from tasks_api.retrying import publish_by_name

TRIGGERS: dict[str, tuple[str, dict[str, object]]] = {
    "cleanup-cache": ("tasks_api.cleanup_old_cache", {}),
    # Asked for by hand it means now, not only where a new day has begun.
    "reset-daily-limits": ("tenants.reset_all_daily_limits", {"force": True}),
    "send-statistics": ("tenants.send_usage_statistics", {}),
}


def trigger(name: str) -> str:
    """Start the task behind one of `TRIGGERS` and return its id."""
    task_name, kwargs = TRIGGERS[name]
    return publish_by_name(task_name, kwargs)
