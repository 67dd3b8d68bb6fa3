import os
import threading
import time

import pytest

from core.embedded import ports
from core.health import __main__ as check
from core.health import files, worker


@pytest.fixture
def broker_away(settings):
    settings.REDIS_URL = f"redis://127.0.0.1:{ports.find_free()}/0"


def grow_old(path, seconds):
    files.touch(path)
    os.utime(path, (time.time() - seconds,) * 2)


@pytest.mark.django_db(transaction=True)
def test_readyz_is_well_with_all_parts_in_place(client):
    response = client.get("/readyz")

    assert response.status_code == 200
    assert response.json()["checks"] == {"database": "ok", "pgvector": "ok", "migrations": "ok", "redis": "ok"}


@pytest.mark.django_db(transaction=True)
def test_readyz_names_the_part_that_is_away(client, broker_away):
    response = client.get("/readyz")

    assert response.status_code == 503
    assert response.json()["checks"]["redis"] == "unreachable"


def test_healthz_asks_neither_postgres_nor_redis(client, broker_away):
    assert client.get("/healthz").status_code == 200


def test_check_tells_a_fresh_file_from_an_old_and_a_missing_one(tmp_path, monkeypatch):
    monkeypatch.setenv("VAR_DIR", str(tmp_path))
    files.touch(tmp_path / "health" / "ai1")
    grow_old(tmp_path / "health" / "ai2", files.MAX_AGE_SECONDS + 5)

    assert check.main(["ai1"]) == 0
    assert check.main(["ai1", "ai2"]) == 1
    assert "no sign of life" in check.find_problem("ai2")
    assert check.find_problem("ai3") == "ai3: not started yet"


class ExitedError(Exception):
    pass


@pytest.fixture
def watched(tmp_path, monkeypatch, settings):
    """A watch that looks every few milliseconds; leaving the process raises ExitedError instead."""

    def leave(code):
        raise ExitedError(code)

    monkeypatch.setattr(worker, "WATCH_EVERY_SECONDS", 0.01)
    monkeypatch.setattr(worker.os, "_exit", leave)
    return tmp_path / "ai1"


def test_watch_ends_a_worker_that_hangs_while_the_broker_answers(watched, settings):
    grow_old(watched, settings.WORKER_STUCK_EXIT_SECONDS + 1)

    with pytest.raises(ExitedError, match=str(worker.STUCK_EXIT_CODE)):
        worker.watch(watched, threading.Event())


def test_watch_lets_a_worker_wait_for_a_broker_that_is_away(watched, settings, broker_away):
    grow_old(watched, settings.WORKER_STUCK_EXIT_SECONDS + 1)
    stopped = threading.Event()
    thread = threading.Thread(target=worker.watch, args=(watched, stopped), daemon=True)
    thread.start()

    deadline = time.monotonic() + 10
    while files.age_seconds(watched) > 1 and time.monotonic() < deadline:
        time.sleep(0.01)
    stopped.set()
    thread.join(timeout=10)

    assert files.age_seconds(watched) < 5, "waiting for the broker is shown as life"
