"""What ``manage.py doctor`` looks at: each part of a running Pasokh, with how to mend it."""

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import redis
from django.conf import settings
from django.db import connection
from django.utils.module_loading import import_string

from core import beat, brownout, consumers, inspecting, queues, sweeper
from core.health import readiness
from core.postgres.base import patience

REDIS_MINIMUM = (7, 0)
POSTGRES_MINIMUM = 16
INSPECT_SECONDS = 2.0
SWEEPER_SILENT_SECONDS = 30
LLM_TIMEOUT_SECONDS = 5


@dataclass(frozen=True)
class Finding:
    """One line of the report; ``fix`` is empty where nothing is to be done."""

    name: str
    ok: bool
    detail: str
    fix: str = ""


def examine() -> Iterator[Finding]:
    """Yield a finding for each part, in the order in which faults cause others; nothing that is away is waited for."""
    for name, check in _CHECKS.items():
        try:
            with patience.given_up():
                yield from check()
        except Exception as exc:  # a report that stops half way hides the rest
            yield Finding(name, False, readiness.first_line(exc), _FIXES.get(name, ""))


def _check_postgres() -> Iterator[Finding]:
    with connection.cursor() as cursor:
        cursor.execute("SHOW server_version")
        version = cursor.fetchone()[0]
    ok = readiness.version_of(version)[0] >= POSTGRES_MINIMUM
    yield Finding("postgres", ok, f"version {version}", "" if ok else f"Upgrade to {POSTGRES_MINIMUM} or newer.")
    problem = readiness.check_pgvector()
    yield Finding(
        "pgvector", not problem, problem or f"version {_pgvector_version()}",
        "" if not problem else "Install pgvector 0.8 on the server, then: ALTER EXTENSION vector UPDATE;",
    )  # fmt: skip
    count = readiness.count_missing_migrations()
    yield Finding(
        "migrations",
        not count,
        f"{count} missing" if count else "all applied",
        "Run: manage.py migrate" if count else "",
    )


def _pgvector_version() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'")
        return str(cursor.fetchone()[0])


def _check_redis() -> Iterator[Finding]:
    client = redis.Redis.from_url(settings.REDIS_URL, socket_timeout=3, socket_connect_timeout=3, decode_responses=True)
    info: Any = client.info("server")
    name, version = ("Valkey", info["valkey_version"]) if "valkey_version" in info else ("Redis", info["redis_version"])
    ok = readiness.version_of(info["redis_version"]) >= REDIS_MINIMUM
    yield Finding("redis", ok, f"{name} {version}", "" if ok else "Upgrade to Redis 7 or newer, or Valkey.")
    policy, appends = _redis_option(client, "maxmemory-policy"), _redis_option(client, "appendonly")
    ok = policy in ("noeviction", "")
    fix = "" if ok else "Set maxmemory-policy noeviction: another one deletes messages when memory is short."
    yield Finding("redis eviction", ok, policy or "hidden by the server", fix)
    ok = appends in ("yes", "")
    fix = "" if ok else "Set appendonly yes: without it a restart of Redis loses every message in a queue."
    yield Finding("redis persistence", ok, f"appendonly {appends or 'hidden by the server'}", fix)


def _redis_option(client: redis.Redis, name: str) -> str:
    """Return a configuration value, empty where the server, a hosted one, does not tell."""
    try:
        values: Any = client.config_get(name)
    except redis.ResponseError:
        return ""
    return str(values.get(name, ""))


def _check_workers() -> Iterator[Finding]:
    replies = inspecting.active_queues(seconds=INSPECT_SECONDS)
    consumed = {node: {queue["name"] for queue in active} for node, active in replies.items()}
    for name in queues.NAMES:
        nodes = sorted(node for node, names in consumed.items() if name in names)
        service = "celery_ai" if name == queues.HIGH_PRIORITY else "celery_worker"
        fix = "" if nodes else f"Start the service {service} and read its log."
        yield Finding(f"queue {name}", bool(nodes), ", ".join(nodes) or "no worker consumes it", fix)
    running = [consumers.Consumer(node, frozenset(names)) for node, names in consumed.items()]
    problem = consumers.find_configured_problem(settings.DEPLOY_DIR) or consumers.find_problem(running)
    detail, _, fix = problem.partition(". ")
    yield Finding("chat apart", not problem, detail or "chat has workers of its own", fix)


def _check_chat_wait() -> Iterator[Finding]:
    now = brownout.read()
    wait = f"p95 {now.p95_ms:.0f} ms of {now.count} chats" if now.p95_ms is not None else "nobody has asked just now"
    detail = f"{wait}; background work is slowed, level {now.level} of {brownout.LEVEL_MAX}" if now.level else wait
    fix = f"Above the target of {settings.CHAT_WAIT_TARGET_MS} ms: more celery_ai, or more cores (docs/queues.md)."
    yield Finding("chat wait", not now.level, detail, fix if now.level else "")


def _check_proof() -> Iterator[Finding]:
    proof = import_string("tasks_api.models.IsolationProof").objects.order_by("-created_at").first()
    if proof is None:
        yield Finding("isolation proof", True, "none yet; to make one: manage.py prove_isolation")
        return
    wait = proof.wait_p99_ms("loaded")
    detail = proof.reason or f"chat waited {wait:.0f} ms (p99) under load"
    fix = "" if proof.is_kept else "Mend what is reported above, then: manage.py prove_isolation"
    yield Finding("isolation proof", proof.is_kept, f"{proof.created_at:%Y-%m-%d %H:%M}: {detail}", fix)


def _check_beat() -> Iterator[Finding]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            " AND classid::bigint = %s AND objid::bigint = %s",
            [beat.LOCK_ID >> 32, beat.LOCK_ID & 0xFFFFFFFF],
        )
        leads = cursor.fetchone()[0] > 0
    yield Finding(
        "beat", leads, "leads" if leads else "no beat runs", "" if leads else "Start the service celery_beat."
    )


def _check_sweeper() -> Iterator[Finding]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT extract(epoch FROM clock_timestamp() - max(state_change)) FROM pg_stat_activity"
            " WHERE application_name = %s AND datname = current_database()",
            [sweeper.APPLICATION_NAME],
        )
        silent = cursor.fetchone()[0]
    ok = silent is not None and silent < SWEEPER_SILENT_SECONDS
    detail = "no sweeper runs" if silent is None else f"last look {silent:.0f} s ago"
    yield Finding("sweeper", ok, detail, "" if ok else "Start the service sweeper; lost messages stay lost without it.")


def _check_embeddings() -> Iterator[Finding]:
    size = len(import_string("knowledge.embeddings.embed_query")("doctor"))
    where = settings.EMBEDDING_BASE_URL or "in this process"
    yield Finding("embeddings", True, f"{settings.EMBEDDING_MODEL} {where}, {size} dimensions")
    known, unknown = import_string("knowledge.sync_report.tenants_behind")()
    if unknown:
        fix = "Searched by words alone until: manage.py sync full. Or set EMBEDDING_PREVIOUS_BASE_URL and _MODEL."
        yield Finding("embedding model", False, f"no setting names the model of {', '.join(unknown)}", fix)
    elif known:
        detail = f"searched with another model: {', '.join(known)}; to change: manage.py sync full"
        yield Finding("embedding model", True, detail)


def _check_llm() -> Iterator[Finding]:
    if not settings.LLM_BASE_URL:
        yield Finding("language model", True, "none set: answers quote the site's own sentences")
        return
    request = urllib.request.Request(  # noqa: S310 -- the operator's own setting
        f"{settings.LLM_BASE_URL.rstrip('/')}/models", headers={"Authorization": f"Bearer {settings.LLM_API_KEY}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=LLM_TIMEOUT_SECONDS) as response:  # noqa: S310
            names = [model.get("id") for model in json.load(response).get("data", [])]
    except urllib.error.HTTPError as exc:
        names, problem = [], f"answers {exc.code}"
    else:
        problem = "" if settings.LLM_MODEL in names or not names else f"does not know the model {settings.LLM_MODEL}"
    detail = problem or f"{settings.LLM_MODEL} at {settings.LLM_BASE_URL}"
    yield Finding("language model", not problem, detail, _FIXES["language model"] if problem else "")


def _check_renderer() -> Iterator[Finding]:
    detail, fix = import_string("crawl.rendering.trying.examine")()
    yield Finding("renderer", not fix, detail, fix)


_CHECKS: dict[str, Callable[[], Iterator[Finding]]] = {
    "postgres": _check_postgres,
    "redis": _check_redis,
    "workers": _check_workers,
    "chat wait": _check_chat_wait,
    "isolation proof": _check_proof,
    "beat": _check_beat,
    "sweeper": _check_sweeper,
    "embeddings": _check_embeddings,
    "language model": _check_llm,
    "renderer": _check_renderer,
}
_FIXES = {
    "postgres": "Start Postgres, or correct DATABASE_URL.",
    "redis": "Start Redis, or correct REDIS_URL.",
    "workers": "Start Redis first; then the services celery_ai and celery_worker.",
    "chat wait": "Start Redis first.",
    "isolation proof": "Start Postgres first.",
    "beat": "Start Postgres first.",
    "sweeper": "Start Postgres first.",
    "embeddings": "Check EMBEDDING_BASE_URL and EMBEDDING_API_KEY, or install requirements.txt anew.",
    "language model": "Check LLM_BASE_URL, LLM_API_KEY and LLM_MODEL, or unset LLM_BASE_URL.",
    "renderer": "Set CRAWL_RENDERER=off, or read docs/crawling.md.",
}
