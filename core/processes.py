"""The services that make up a running Pasokh, as data.

``docker-compose.yml`` and the process manager of ``script/up`` run exactly these commands (tests/core/test_compose.py
compares). What differs between places, such as ports and folders, comes through the environment.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Service:
    """One service: what runs it, what tells that it is well, and how long it may take to stop.

    ``priority`` orders starting: chat first, comforts last. ``processes`` are the workers inside, each with a
    health file of that name.
    """

    name: str
    command: tuple[str, ...]
    health: tuple[str, ...]
    priority: int
    stop_grace_seconds: int
    processes: tuple[str, ...] = ()


def _python(*arguments: str) -> tuple[str, ...]:
    return ("python", *arguments)


def _check(*arguments: str) -> tuple[str, ...]:
    return _python("-m", "core.health", *arguments)


def _celery(*arguments: str) -> tuple[str, ...]:
    return _python("-m", "celery", "-A", "core", "--quiet", *arguments)


def _workers(name: str) -> tuple[str, ...]:
    """Return the command of a service of several workers: a small process manager with a static file."""
    return _python("-m", "supervisor.supervisord", "--nodaemon", "--silent", "--configuration", f"deploy/{name}.conf")


ANSWER_GRACE_SECONDS = 130  # above CHAT_ANSWER_DEADLINE_SECONDS: threads cannot be cut, so an answer is let finish
BACKGROUND_GRACE_SECONDS = 40  # above CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT, after which work goes back to its queue

SERVICES = (
    Service(
        name="web",
        command=_python("-m", "core.web"),
        health=_check("web"),
        priority=20,
        stop_grace_seconds=20,
    ),
    Service(
        name="celery_ai",
        command=_workers("celery_ai"),
        health=_check("ai1", "ai2"),
        priority=30,
        stop_grace_seconds=ANSWER_GRACE_SECONDS + 10,
        processes=("ai1", "ai2"),
    ),
    Service(
        name="celery_worker",
        command=_workers("celery_worker"),
        health=_check("bg", "standby"),
        priority=40,
        stop_grace_seconds=ANSWER_GRACE_SECONDS + 10,
        processes=("bg", "standby"),
    ),
    Service(
        name="sweeper",
        command=_python("manage.py", "sweeper"),
        health=_check("sweeper"),
        priority=50,
        stop_grace_seconds=10,
    ),
    Service(
        name="celery_beat",
        command=_celery("beat", "--pidfile="),
        health=_check("beat"),
        priority=60,
        stop_grace_seconds=10,
    ),
    Service(
        name="flower",
        command=_celery(
            "flower",
            "--url_prefix=flower",
            "--read_only=True",
            "--purge_offline_workers=300",
            "--max_tasks=20000",
            "--persistent=True",
            "--state_save_interval=60000",
        ),
        health=_check("flower"),
        priority=70,
        stop_grace_seconds=10,
    ),
)

BY_NAME = {service.name: service for service in SERVICES}
