"""What the bundle holds, each part a function that returns text; any of them may fail without harm to the others."""

import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from importlib import metadata
from typing import Any

import redis
from django.apps import apps
from django.conf import settings
from django.db import ProgrammingError, connection, transaction
from django.db.models import Count, Model

from core import doctor, inspecting, queues
from core.support import running

INSPECT_SECONDS = 1.0
REDIS_SECONDS = 3
FAILURES_SHOWN = 50
SCHEDULES_SHOWN = 200
REDIS_SECTIONS = ("server", "clients", "memory", "persistence", "stats", "replication")

# Only what is named here is shown: a setting that is added later stays out until someone has looked at it.
SETTINGS_SHOWN = (
    "ALLOWED_HOSTS", "API_RATE_PER_KEY", "CELERY_BROKER_TRANSPORT_OPTIONS", "CELERY_TASK_ACKS_LATE",
    "CELERY_TASK_ROUTES", "CELERY_TASK_SOFT_TIME_LIMIT", "CELERY_TASK_TIME_LIMIT", "CELERY_WORKER_DISABLE_PREFETCH",
    "CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT", "CHAT_ANSWERS_PER_TENANT", "CHAT_ANSWER_DEADLINE_SECONDS",
    "CHAT_RESEND_AFTER_SECONDS", "CHAT_WAIT_SECONDS", "CRAWL_HOST_GAP_SECONDS",
    "CRAWL_MAX_PAGES", "CRAWL_RUNS_PER_TENANT", "CRAWL_SLICE_SECONDS", "CSRF_TRUSTED_ORIGINS",
    "DEBUG", "EMAIL_ENABLED", "EMBEDDING_BASE_URL", "EMBEDDING_DIMENSIONS", "EMBEDDING_MODEL", "LANGUAGE_CODE",
    "LIMIT_END_USER_DAILY", "LIMIT_TENANT_DAILY", "LLM_BASE_URL", "LLM_MAX_TOKENS", "LLM_MODEL", "LOG_LEVEL",
    "KNOWLEDGE_SYNC_WINDOW", "OUTBOUND_ALLOWED_HOSTS", "PUBLIC_URL", "REDIS_MAX_CONNECTIONS", "SWEEPERS",
    "TASKS_KEEP_DONE_HOURS", "TASKS_KEEP_FAILED_DAYS", "TIME_ZONE", "VAR_DIR", "WEBHOOK_TIMEOUT_SECONDS",
)  # fmt: skip


def versions() -> str:
    packages = sorted({(found.name, found.version) for found in metadata.distributions()}, key=lambda one: str(one[0]))
    lines = [
        f"pasokh {settings.SPECTACULAR_SETTINGS['VERSION']}, code {_revision()}",
        f"python {sys.version.split()[0]}, {platform.platform()}",
        *(f"{name} {version}" for name, version in packages),
    ]
    return "\n".join(lines)


def _revision() -> str:
    git = shutil.which("git")
    if git is None or not (settings.BASE_DIR / ".git").exists():
        return "unknown (no git)"
    command = [git, "-C", str(settings.BASE_DIR), "describe", "--always", "--dirty", "--tags"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    return done.stdout.strip() or "unknown"


def shown_settings() -> str:
    return _json({name: getattr(settings, name) for name in SETTINGS_SHOWN})


def processes() -> str:
    found = running.processes()
    lines = [f"{'pid':>8} {'parent':>8} {'rss kB':>9} {'pss kB':>9} {'threads':>7}  command"]
    lines += [
        f"{one.pid:>8} {one.parent:>8} {one.rss_kb:>9} {one.pss_kb:>9} {one.threads:>7}  {one.command}" for one in found
    ]
    disk = shutil.disk_usage(settings.VAR_DIR)
    lines += [
        f"sum of pss: {sum(max(one.pss_kb, 0) for one in found) // 1024} MB",
        f"disk of {settings.VAR_DIR}: {disk.free // 2**20} MB free of {disk.total // 2**20} MB",
    ]
    return "\n".join(lines)


def findings() -> str:
    """Return what ``manage.py doctor --json`` prints."""
    found = list(doctor.examine())
    return _json({"ok": all(one.ok for one in found), "findings": [asdict(one) for one in found]})


def inspect_stats() -> str:
    return _json(inspecting.stats(seconds=INSPECT_SECONDS) or "no worker answered")


def inspect_active_queues() -> str:
    return _json(inspecting.active_queues(seconds=INSPECT_SECONDS) or "no worker answered")


def broker() -> str:
    """Return the length of each queue, what is in workers' hands, and how the server fares."""
    client: Any = redis.Redis.from_url(
        settings.REDIS_URL, socket_timeout=REDIS_SECONDS, socket_connect_timeout=REDIS_SECONDS, decode_responses=True
    )
    with client:
        lengths = {name: queues.length(client, name) for name in queues.NAMES}
        info = {name: client.info(name) for name in REDIS_SECTIONS}
        return _json({"queue_lengths": lengths, "unacknowledged": client.hlen("unacked"), "info": info})


def database() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT version()")
        lines = [cursor.fetchone()[0]]
        cursor.execute("SELECT pg_size_pretty(pg_database_size(current_database()))")
        lines.append(f"size {cursor.fetchone()[0]}")
        for title, statement in _STATEMENTS.items():
            cursor.execute(statement)
            lines += ["", title, *("  ".join(map(str, row)) for row in cursor.fetchall())]
    return "\n".join(lines)


_STATEMENTS = {
    "extensions": "SELECT extname, extversion FROM pg_extension ORDER BY 1",
    "connections": (
        "SELECT coalesce(application_name, ''), coalesce(state, ''), count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() GROUP BY 1, 2 ORDER BY 3 DESC LIMIT 50"
    ),
    "tables: rows about, size": (
        "SELECT relname, n_live_tup, pg_size_pretty(pg_total_relation_size(relid)) FROM pg_stat_user_tables"
        " ORDER BY pg_total_relation_size(relid) DESC LIMIT 50"
    ),
    "migrations": "SELECT app, max(name) FROM django_migrations GROUP BY app ORDER BY app",
}


def work() -> str:
    """Return how many rows of every kind of work are in which state."""
    counts = {model._meta.label: _per_state(model) for model in apps.get_models() if _has_states(model)}
    tasks = apps.get_model("tasks_api", "TaskRun").objects
    by_name = tasks.order_by("name", "state").values_list("name", "state").annotate(count=Count("pk"))
    failures = tasks.filter(state="failed").order_by("-created_at").values("name", "worker", "attempts", "error")
    return _json(
        {
            "rows_per_state": counts,
            "tasks_per_name_and_state": [list(row) for row in by_name[:500]],
            "last_failures": list(failures[:FAILURES_SHOWN]),
        }
    )


def _has_states(model: type[Model]) -> bool:
    return any(field.name == "state" and field.choices for field in model._meta.fields)


def _per_state(model: type[Model]) -> dict[str, int] | str:
    try:
        with transaction.atomic():
            return dict(model._default_manager.order_by().values_list("state").annotate(count=Count("pk")))
    except ProgrammingError:
        return "no such table: run manage.py migrate"


def schedules() -> str:
    rows = apps.get_model("django_celery_beat", "PeriodicTask").objects.order_by("name")
    names = ("name", "task", "queue", "enabled", "last_run_at", "total_run_count", "expire_seconds")
    return _json([row | {"last_run_at": str(row["last_run_at"])} for row in rows.values(*names)[:SCHEDULES_SHOWN]])


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


PARTS: dict[str, Callable[[], str]] = {
    "versions.txt": versions,
    "settings.json": shown_settings,
    "processes.txt": processes,
    "doctor.json": findings,
    "inspect-stats.json": inspect_stats,
    "inspect-active-queues.json": inspect_active_queues,
    "broker.json": broker,
    "database.txt": database,
    "work.json": work,
    "schedules.json": schedules,
}
