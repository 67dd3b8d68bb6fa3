"""The rules that keep chat from waiting, checked on every task there is: a new task cannot forget them."""

import ast
from pathlib import Path

import pytest
from django.conf import settings

from core import queues
from core.celery import app
from core.jobs import keeping

APPS = ("core", "tenants", "knowledge", "crawl", "chat", "tasks_api")
MAX_COUNTDOWN_SECONDS = 60


def project_tasks() -> dict[str, object]:
    app.loader.import_default_modules()
    return {name: task for name, task in app.tasks.items() if task.__module__.partition(".")[0] in APPS}


TASKS = project_tasks()
BACKGROUND = sorted(name for name in TASKS if not name.startswith("chat.answer"))
SOURCES = sorted(
    path for name in APPS for path in (settings.BASE_DIR / name).rglob("*.py") if "migrations" not in path.parts
)


def queue_of(name: str) -> str:
    return app.amqp.router.route({}, name)["queue"].name


def test_the_tasks_the_product_lives_by_are_registered():
    assert {"chat.answer_message_task", "crawl.crawl_website_task", "crawl.process_page_content"} <= set(TASKS)


@pytest.mark.parametrize("name", sorted(TASKS))
def test_every_task_is_named_by_hand_so_that_moving_it_breaks_no_message(name):
    app_name, _, task_name = name.partition(".")

    assert app_name in APPS
    assert task_name.isidentifier(), "a name with module parts is the one Celery makes up"


@pytest.mark.parametrize("name", sorted(TASKS))
def test_every_task_goes_to_a_declared_queue(name):
    assert queue_of(name) in queues.NAMES


@pytest.mark.parametrize("name", sorted(TASKS))
def test_only_chat_tasks_use_high_priority(name):
    assert (queue_of(name) == queues.HIGH_PRIORITY) == name.startswith("chat.answer"), name


@pytest.mark.parametrize("name", BACKGROUND)
def test_a_background_task_that_hangs_is_killed_before_its_message_is_delivered_again(name):
    """Its lease is renewed by a thread of the process that the hard limit kills."""
    task = TASKS[name]
    soft = task.soft_time_limit or app.conf.task_soft_time_limit
    hard = task.time_limit or app.conf.task_time_limit

    assert soft < hard < app.conf.broker_transport_options["visibility_timeout"]


def test_a_dead_workers_job_is_taken_over_within_fifteen_seconds_and_a_living_ones_never():
    sweep, ring = settings.SWEEPER_INTERVAL_SECONDS, 1.0
    assert settings.JOB_LEASE_SECONDS + sweep + ring < 15
    assert settings.JOB_RENEW_SECONDS * 2 + keeping.LOOK_EVERY_SECONDS < settings.JOB_LEASE_SECONDS


def test_a_chat_gives_up_before_its_message_is_delivered_again():
    assert app.conf.broker_transport_options["visibility_timeout"] > settings.CHAT_ANSWER_DEADLINE_SECONDS


@pytest.mark.parametrize("name", sorted(TASKS))
def test_no_task_is_rate_limited_or_prioritised_or_retried_much_later(name):
    """All three park messages in a worker's memory, where a kill loses them, or reorder the queues.

    `core.enqueue` alone gives a message a level, by whose turn it is.
    """
    task = TASKS[name]

    assert task.rate_limit is None
    assert task.priority == app.conf.task_default_priority, "it is none of its own"
    assert not getattr(task, "autoretry_for", ()) or task.retry_backoff_max <= MAX_COUNTDOWN_SECONDS


def test_no_source_sends_a_message_far_into_the_future_or_with_a_priority():
    assert Path(settings.BASE_DIR / "core" / "celery.py") in SOURCES
    assert [f"{path}:{misuse}" for path in SOURCES for misuse in misuses(path.read_text())] == []


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("task.apply_async(countdown=61)", "1: countdown"),
        ("task.apply_async(countdown=delay)", "1: countdown"),
        ("task.apply_async(eta=soon)", "1: eta"),
        ("task.apply_async(priority=9)", "1: priority"),
        ("shared_task(rate_limit='1/m')", "1: rate_limit"),
        ("self.retry()", "1: retry"),
    ],
)
def test_the_check_of_sources_sees_each_misuse(source, complaint):
    assert misuses(source) == [complaint]


def test_the_check_of_sources_lets_short_pauses_pass():
    assert misuses("task.apply_async(countdown=5)\nself.retry(exc=exc, countdown=30)") == []


def misuses(source: str) -> list[str]:
    """Return ``line: word`` for each call that would park a message or reorder a queue."""
    return [
        f"{call.lineno}: {word}"
        for call in ast.walk(ast.parse(source))
        if isinstance(call, ast.Call)
        for word in _misused(call)
    ]


def _misused(call: ast.Call) -> list[str]:
    called = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    words = []
    if called in {"apply_async", "signature", "retry", "send_task", "shared_task", "task", "s", "si"}:
        words += [word for word in ("eta", "priority", "rate_limit") if word in given]
        words += ["countdown"] if "countdown" in given and not _is_short(given["countdown"]) else []
    if ast.unparse(call.func) in {"self.retry", "task.retry"} and "countdown" not in given:
        words.append("retry")  # Celery's own pause is three minutes
    return words


def _is_short(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and value.value <= MAX_COUNTDOWN_SECONDS
