import json
from io import StringIO

import pytest
from django.core.management import call_command

from core import brownout, doctor
from core.beat import Leadership
from core.embedded import ports
from tasks_api.models import IsolationProof


def findings():
    return {finding.name: finding for finding in doctor.examine()}


@pytest.mark.django_db(transaction=True)
def test_doctor_finds_the_services_well_and_the_processes_missing(redis_client, monkeypatch):
    monkeypatch.setattr(doctor, "INSPECT_SECONDS", 0.2)
    found = findings()

    well = {name for name, finding in found.items() if finding.ok}
    assert {"postgres", "pgvector", "migrations", "redis", "redis eviction", "redis persistence"} <= well
    missing = {"queue high_priority", "queue default", "queue low_priority", "beat", "sweeper"}
    assert missing.isdisjoint(well)
    assert all(found[name].fix for name in missing), "each problem comes with what to do"


@pytest.mark.django_db(transaction=True)
def test_doctor_sees_the_beat_that_leads(redis_client, monkeypatch):
    monkeypatch.setattr(doctor, "INSPECT_SECONDS", 0.2)
    leadership = Leadership()
    leadership.is_held()

    assert findings()["beat"].ok
    leadership.release()


@pytest.mark.django_db(transaction=True)
def test_doctor_reports_a_brownout_and_a_broken_proof(redis_client, monkeypatch):
    monkeypatch.setattr(doctor, "INSPECT_SECONDS", 0.2)
    assert findings()["chat wait"].ok
    assert findings()["isolation proof"].ok

    redis_client.set(brownout.KEY, json.dumps({"level": 2, "p95_ms": 800.0, "count": 40}))
    IsolationProof.objects.keep(is_kept=False, reason="A question waited.", plan={}, measured={}, seconds=1.0)
    found = findings()

    assert not found["chat wait"].ok
    assert "800 ms of 40 chats; background work is slowed, level 2 of 3" in found["chat wait"].detail
    assert not found["isolation proof"].ok
    assert "A question waited." in found["isolation proof"].detail


@pytest.mark.django_db(transaction=True)
def test_doctor_tells_that_chat_has_no_worker_of_its_own(redis_client, monkeypatch):
    monkeypatch.setattr(doctor, "INSPECT_SECONDS", 0.2)
    apart = findings()["chat apart"]

    assert not apart.ok
    assert apart.detail == "no worker reads high_priority and nothing else"
    assert "deploy/celery_ai.conf" in apart.fix


@pytest.mark.django_db(transaction=True)
def test_doctor_goes_on_when_redis_is_away(settings, monkeypatch):
    monkeypatch.setattr(doctor, "INSPECT_SECONDS", 0.2)
    settings.REDIS_URL = f"redis://127.0.0.1:{ports.find_free()}/0"
    found = findings()

    assert not found["redis"].ok
    assert "REDIS_URL" in found["redis"].fix
    assert found["postgres"].ok
    assert "language model" in found


@pytest.mark.django_db(transaction=True)
def test_doctor_as_json_says_all_and_exits_with_1_on_a_problem(redis_client, monkeypatch):
    monkeypatch.setattr(doctor, "INSPECT_SECONDS", 0.2)
    out = StringIO()

    with pytest.raises(SystemExit, match="1"):
        call_command("doctor", json=True, stdout=out)

    report = json.loads(out.getvalue())
    assert report["ok"] is False
    assert {"name", "ok", "detail", "fix"} == set(report["findings"][0])
