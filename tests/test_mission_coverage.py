"""docs/mission-coverage.md, checked: what it names is there, and it names all that the client asked for."""

import ast
import importlib
import importlib.metadata
import re
from datetime import timedelta
from functools import cache
from pathlib import Path

import pytest
import yaml
from django.core.management import get_commands
from django.urls import Resolver404, resolve

from core.celery import app
from core.schedules import SCHEDULES

CHECKOUT = Path(__file__).resolve().parent.parent
PAGE = (CHECKOUT / "docs" / "mission-coverage.md").read_text(encoding="utf-8")
ID = "00000000-0000-0000-0000-000000000000"

APPS = {"core", "tenants", "knowledge", "crawl", "chat", "tasks_api"}
FILES = {"manage.py", "requirements.txt", "docker-compose.yml", "tests"}
PACKAGES = {
    "django", "djangorestframework", "celery", "django-celery-beat", "django-celery-results", "redis",
    "psycopg2-binary", "flower", "pytest-django",
}  # fmt: skip
TASKS = [
    "sync_embeddings_task", "process_sync_queue", "trigger_full_sync_task", "delete_document_embeddings_task",
    "send_query_result_to_users", "send_usage_statistics", "send_system_notification",
    "cleanup_old_cache", "cleanup_query_cache", "cleanup_old_conversations", "cleanup_failed_tasks",
    "reset_user_daily_limit", "reset_all_daily_limits", "update_user_statistics", "calculate_user_tier",
    "crawl_website_task", "process_page_content",
]  # fmt: skip
ADDRESSES = {
    "POST /api/v1/query/", "POST /api/v1/sync/trigger-full-sync", "DELETE /api/v1/sync/document/{id}",
    "GET status/{task_id}", "GET list", "POST revoke/{task_id}", "GET workers", "POST trigger/cleanup-cache",
    "POST trigger/reset-daily-limits", "POST trigger/send-statistics",
}  # fmt: skip
OTHERS = {
    "high_priority", "default", "low_priority", "tenant_knowledge", "chunk_index", "X-API-Key", "db", "redis", "web",
    "celery_ai", "celery_worker", "celery_beat", "flower", "inspect active_queues", "inspect stats", "inspect ping",
    "LLEN high_priority",
}  # fmt: skip
# The client's rhythms: minute and hour, or seconds.
RHYTHMS = {
    "tenants.reset_all_daily_limits": "0 0",
    "tasks_api.cleanup_old_cache": "0 */6",
    "chat.cleanup_query_cache": "0 2",
    "knowledge.process_sync_queue": "300",
    "tenants.send_usage_statistics": "0 *",
}

ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in PAGE.splitlines()
    if line.startswith("| ") and not line.startswith(("| Asked for", "| Demand"))
]
CODE = sorted({name for row in ROWS for name in re.findall(r"`([^`]+)`", row[1])})
TESTS = sorted({name for row in ROWS for name in re.findall(r"`([^`]+)`", row[2])})


def test_every_name_of_the_clients_documents_is_on_the_page():
    asked = {name for row in ROWS for name in re.findall(r"`([^`]+)`", row[0])}

    assert {*APPS, *FILES, *PACKAGES, *TASKS, *ADDRESSES, *OTHERS} - asked == set()


def test_every_row_has_code_and_a_test():
    assert [row for row in ROWS if len(row) != 3 or not re.search(r"`.+`", row[1]) or "::test_" not in row[2]] == []


@pytest.mark.parametrize("name", CODE)
def test_the_code_is_there(name):
    assert problem_of(name) == ""


@pytest.mark.parametrize("name", TESTS)
def test_the_test_is_there(name):
    path, _, function = name.partition("::")

    assert function in functions_of(CHECKOUT / path)


@pytest.mark.parametrize("name", TASKS)
def test_a_task_of_the_clients_name_is_registered_once(name):
    found = [task for task in app.tasks if task.rpartition(".")[2] == name]

    assert len(found) == 1, "registered once, under the app that does the work"
    assert app.tasks[found[0]].__doc__


def test_the_schedule_has_the_clients_rhythms():
    seeded = {schedule.row_name: rhythm(schedule) for schedule in SCHEDULES}

    assert {name: seeded.get(name) for name in RHYTHMS} == RHYTHMS


def test_the_clients_packages_are_installed():
    wanted = (CHECKOUT / "requirements.in").read_text("utf-8") + (CHECKOUT / "requirements-dev.in").read_text("utf-8")
    for name in PACKAGES:
        assert importlib.metadata.version(name)
        assert re.search(rf"^{re.escape(name)}\b", wanted, re.M | re.I), name


@pytest.mark.parametrize(
    "name",
    ["core.nothing", "nothing.at.all", "manage.py nothing", "service:nothing", "schedule:nothing", "no/such.file",
     "schedule:chat.cleanup_query_cache = 0 3", "GET /api/v1/nothing", "DELETE /api/v1/query/"],
)  # fmt: skip
def test_what_is_not_there_is_noticed(name):
    assert problem_of(name)


def problem_of(name):
    """Return why what the page names is not there, or an empty text."""
    kind, _, rest = name.partition(":")
    if kind == "service":
        return "" if rest in services() else "no such service"
    if kind == "schedule":
        return schedule_problem(*rest.partition(" = ")[::2])
    if method := re.fullmatch(r"(GET|POST|DELETE|PATCH) (/.*)", name):
        return address_problem(method[1], method[2].replace("{id}", ID))
    if name.startswith("manage.py "):
        return "" if name.split()[1] in get_commands() else "no such command"
    if "/" in name or (CHECKOUT / name).exists():
        return "" if (CHECKOUT / name).exists() else "no such file"
    return import_problem(name)


@cache
def services():
    return set(yaml.safe_load((CHECKOUT / "docker-compose.yml").read_text(encoding="utf-8"))["services"])


def schedule_problem(name, wanted):
    found = [rhythm(schedule) for schedule in SCHEDULES if schedule.row_name == name]
    return "" if found and (not wanted or found == [wanted]) else f"the schedule is {found}"


def rhythm(schedule):
    return schedule.crontab or str(int((schedule.every or timedelta()).total_seconds()))


def address_problem(method, path):
    try:
        view = resolve(path).func
    except Resolver404:
        return "no such address"
    allowed = getattr(view, "actions", None) or {name for name in vars_of(view) if name in {"get", "post", "delete"}}
    return "" if method.lower() in allowed else f"only {allowed}"


def vars_of(view):
    return dir(getattr(view, "cls", None) or getattr(view, "view_class", view))


def import_problem(name):
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            if not hasattr(found, part):
                return f"{found} has no {part}"
            found = getattr(found, part)
        return ""
    return "no such module"


@cache
def functions_of(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
