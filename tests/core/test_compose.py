import re
from pathlib import Path

import pytest
import yaml

from core import processes, settings

CHECKOUT = Path(__file__).resolve().parents[2]
TEXT = (CHECKOUT / "docker-compose.yml").read_text(encoding="utf-8")
COMPOSE = yaml.safe_load(TEXT)["services"]
CLIENTS_SERVICES = {"db", "redis", "web", "celery_ai", "celery_worker", "celery_beat", "flower"}


def test_compose_has_the_services_the_client_knows():
    assert set(COMPOSE) == CLIENTS_SERVICES | {"sweeper", "migrate"}


@pytest.mark.parametrize("service", processes.SERVICES, ids=lambda service: service.name)
def test_compose_runs_what_the_process_manager_runs(service):
    entry = COMPOSE[service.name]

    assert entry["command"] == list(service.command)
    assert entry["healthcheck"]["test"] == ["CMD", *service.health]
    assert entry["stop_grace_period"] == f"{service.stop_grace_seconds}s"


def test_every_service_but_the_migration_comes_back_after_a_crash():
    assert {name for name, entry in COMPOSE.items() if entry["restart"] != "unless-stopped"} == {"migrate"}


def test_only_the_product_is_reachable_from_outside():
    published = {name: entry["ports"] for name, entry in COMPOSE.items() if "ports" in entry}

    assert set(published) == {"web", "flower"}
    assert published["flower"] == ["127.0.0.1:5555:5555"]
    assert published["web"] == ["${WEB_PUBLISH:-7001}:7001"]


def test_no_secret_has_a_default():
    for name in ("SECRET_KEY", "POSTGRES_PASSWORD", "REDIS_PASSWORD", "FLOWER_PASSWORD"):
        forms = re.findall(r"(?<!\$)\$\{" + name + r"([^}]*)\}", TEXT)
        assert forms, name
        assert all(form.startswith(":?") for form in forms), name


def test_services_wait_for_the_migration():
    for service in processes.SERVICES:
        conditions = {name: on["condition"] for name, on in COMPOSE[service.name]["depends_on"].items()}
        assert conditions == {
            "db": "service_healthy", "redis": "service_healthy", "migrate": "service_completed_successfully",
        }  # fmt: skip


def test_every_setting_that_compose_passes_is_one_that_settings_read():
    source = Path(settings.__file__).read_text(encoding="utf-8")
    passed = set(COMPOSE["celery_ai"]["environment"])

    assert {name for name in passed if f'"{name}"' not in source} == set()


def test_an_answer_may_finish_before_its_worker_is_killed():
    assert processes.ANSWER_GRACE_SECONDS > settings.CHAT_ANSWER_DEADLINE_SECONDS
    assert processes.BACKGROUND_GRACE_SECONDS > settings.CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT


@pytest.mark.parametrize("name", ["celery_ai", "celery_worker"])
def test_worker_services_hold_the_processes_that_are_named(name):
    text = (CHECKOUT / "deploy" / f"{name}.conf").read_text(encoding="utf-8")
    workers = re.findall(r"^\[program:(\w+)\]", text, re.MULTILINE)
    grace = max(int(seconds) for seconds in re.findall(r"^stopwaitsecs = (\d+)", text, re.MULTILINE))

    assert tuple(workers) == processes.BY_NAME[name].processes
    assert re.findall(r"-n (\w+)@", text) == workers
    assert grace < processes.BY_NAME[name].stop_grace_seconds


def test_the_image_holds_only_locked_packages_and_runs_as_nobody_special():
    text = (CHECKOUT / "Dockerfile").read_text(encoding="utf-8")

    assert "--require-hashes --no-deps -r requirements.txt" in text
    assert re.search(r"^USER pasokh$", text, re.MULTILINE)
