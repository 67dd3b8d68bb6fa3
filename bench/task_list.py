"""How long ``GET /api/v1/tasks/list`` takes with 50,000 rows, and what a task costs when it is published.

The list is asked for through the whole stack inside this process: middleware, key, query, serializer. Publishing is
measured with and without the ledger's statement.
"""

import json
import random
import time
import uuid
from collections.abc import Callable
from datetime import timedelta

from celery import signals
from django.db import connection
from django.test import Client
from django.utils import timezone

from bench.figures import machine, spread, table
from bench.world import World
from chat.tasks import answer_message_task
from core import enqueue
from tasks_api import ledger
from tasks_api.models import TaskRun
from tenants.models import Tenant
from tenants.services import create_api_key, create_operator_key, create_tenant

ROWS = 50_000
TENANTS = 20
OPEN_SHARE = 0.1
CALLS = 300
LIST = "/api/v1/tasks/list"
KINDS = [
    ("crawl.process_page_content", "low_priority"),
    ("knowledge.sync_embeddings_task", "low_priority"),
    ("chat.answer_message_task", "high_priority"),
]


def main(here: World) -> None:
    where = machine()
    tenants = [create_tenant(slug=f"tenant-{number}") for number in range(TENANTS)]
    fill(tenants)
    figures = listing(tenants[0]) | publishing(tenants[0].pk)
    print(f"{ROWS:,} tasks of {TENANTS} tenants, {OPEN_SHARE:.0%} open, {CALLS} calls each; {where}\n")
    rows = [[name, ms["p50"], ms["p95"], ms["p99"]] for name, ms in figures.items()]
    print(table(["milliseconds", "p50", "p95", "p99"], rows))
    print(json.dumps({"bench": "task_list", "rows": ROWS, "ms": figures}))


def listing(tenant: Tenant) -> dict[str, dict[str, float]]:
    client = caller(create_api_key(tenant=tenant, name="bench")[1])
    operator = caller(create_operator_key(name="bench")[1])
    cursor = client.get(LIST).json()["next_cursor"]
    return {
        "list, open": times(lambda: client.get(LIST)),
        "list, next page": times(lambda: client.get(LIST, {"starting_after": cursor})),
        "list, failed": times(lambda: client.get(LIST, {"state": "failed"})),
        "list, by name": times(lambda: client.get(LIST, {"name": "crawl.process_page_content"})),
        "list, every tenant": times(lambda: operator.get(LIST)),
        "queues": times(lambda: operator.get("/api/v1/tasks/queues")),
    }


def caller(key: str) -> Client:
    return Client(headers={"X-API-Key": key, "Host": "127.0.0.1"})


def publishing(tenant_id: uuid.UUID) -> dict[str, dict[str, float]]:
    def publish() -> None:
        enqueue.publish(answer_message_task, {"message_id": str(uuid.uuid4())}, tenant_id=tenant_id)

    with_ledger = times(publish)
    signals.before_task_publish.disconnect(ledger.published)
    return {"publish with the ledger": with_ledger, "publish without": times(publish)}


def fill(tenants: list[Tenant]) -> None:
    now = timezone.now()
    chance = random.Random(5)
    rows = []
    for number in range(ROWS):
        name, queue = chance.choice(KINDS)
        is_open = chance.random() < OPEN_SHARE
        state = chance.choice(["queued", "running", "scheduled"] if is_open else ["done"] * 9 + ["failed"])
        at = now - timedelta(seconds=number * 3)
        values = {"created_at": at, "queued_at": at, "finished_at": None if is_open else at}
        arguments = {"page_id": number}
        tenant = chance.choice(tenants)
        rows.append(TaskRun(tenant=tenant, name=name, queue=queue, state=state, arguments=arguments, **values))
    TaskRun.objects.bulk_create(rows, batch_size=5000)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE tasks_api_taskrun")


def times(call: Callable[[], object]) -> dict[str, float]:
    """Call often enough to speak of percentiles, and return their milliseconds."""
    for _ in range(10):
        call()
    taken = []
    for _ in range(CALLS):
        begin = time.perf_counter()
        call()
        taken.append((time.perf_counter() - begin) * 1000)
    return spread(taken)
