import base64
import io
import json
import os
import subprocess
import sys
import tarfile
import threading
from urllib.parse import quote

import pytest
from django.conf import settings as real_settings
from django.core.management import CommandError, call_command
from django.utils import timezone

from core.embedded import ports
from core.support import bundle, parts, redaction
from tasks_api.models import TaskRun
from tenants.services import create_api_key, create_endpoint, create_tenant

CANARY = "canary-7f3a"
AWKWARD = f'{CANARY}/with:@ signs&"quotes"'
SESSION = "k3v9q0w8e7r6t5y4u3i2o1p0a9s8d7f6"


@pytest.fixture
def var(settings, tmp_path):
    settings.VAR_DIR = tmp_path
    settings.ENV_FILE = tmp_path / "env"
    (tmp_path / "log").mkdir()
    return tmp_path


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(parts, "INSPECT_SECONDS", 0.2)
    monkeypatch.setattr("core.doctor.INSPECT_SECONDS", 0.2)


def make(path, *arguments):
    """Make a bundle and return its texts by name."""
    call_command("support_bundle", "--output", str(path), *arguments, stdout=io.StringIO(), stderr=io.StringIO())
    with tarfile.open(path) as archive:
        return {
            member.name.removeprefix("pasokh-support/"): archive.extractfile(member).read().decode()
            for member in archive.getmembers()
        }


@pytest.mark.django_db(transaction=True)
def test_the_bundle_holds_every_part(var, quick, redis_client):
    redis_client.rpush("low_priority", "{}")
    TaskRun.objects.create(name="crawl.crawl_website_task", queue="low_priority", state="failed", error="it broke")
    (var / "log" / "web.log").write_text("a line\n")

    texts = make(var / "b.tar.gz")

    assert set(texts) == {"README.txt", "log/web.log", *parts.PARTS}
    assert {finding["name"] for finding in json.loads(texts["doctor.json"])["findings"]} >= {"postgres", "redis"}
    assert json.loads(texts["broker.json"])["queue_lengths"]["low_priority"] == 1
    assert json.loads(texts["work.json"])["rows_per_state"]["tasks_api.TaskRun"] == {"failed": 1}
    assert "it broke" in texts["work.json"]
    assert "PostgreSQL" in texts["database.txt"]
    assert "\nknowledge  0" in texts["database.txt"]
    assert "\ncelery " in texts["versions.txt"]
    assert str(os.getpid()) in texts["processes.txt"]
    assert json.loads(texts["settings.json"])["CRAWL_MAX_PAGES"] == real_settings.CRAWL_MAX_PAGES
    assert "Everything was collected" in texts["README.txt"]
    assert (var / "b.tar.gz").stat().st_mode & 0o077 == 0


@pytest.mark.django_db(transaction=True)
def test_no_secret_is_in_the_bundle_wherever_it_was(var, quick, redis_client, settings, monkeypatch):
    tenant = create_tenant(slug="acme")
    api_key = create_api_key(tenant=tenant, name="server")[1]
    webhook_secret = create_endpoint(tenant=tenant, url="https://owner.example/hook")[1]
    planted = {name: f"{CANARY}-{name}" for name in ("setting", "fallback", "environ", "file", "mail", "flower", "llm")}
    settings.SECRET_KEY = planted["setting"]
    settings.SECRET_KEY_FALLBACKS = [planted["fallback"]]
    settings.EMAIL_HOST_PASSWORD = planted["mail"]
    settings.LLM_API_KEY = AWKWARD
    settings.LLM_BASE_URL = f"http://user:{quote(planted['llm'])}@127.0.0.1:{ports.find_free()}/v1"
    monkeypatch.setenv("SOME_TOKEN", planted["environ"])
    monkeypatch.setenv("FLOWER_BASIC_AUTH", f"admin:{planted['flower']}")
    (var / "env").write_text(f"DEMO_PASSWORD={planted['file']}\n")
    known = [*planted.values(), AWKWARD, quote(AWKWARD, safe=""), json.dumps(AWKWARD)[1:-1]]
    unknown = [f"{CANARY}-unknown-{number}" for number in range(12)]
    lines = [
        *(f"said {secret} by itself" for secret in [*known, api_key, webhook_secret, SESSION]),
        f"redis://:{unknown[0]}@cache.example:6379/0 and postgres://u:{unknown[1]}@db.example/x",
        f"Authorization: Bearer {unknown[2]}",
        f"Authorization: Basic {base64.b64encode(unknown[3].encode()).decode()}",
        f"Cookie: sessionid={unknown[4]}; other={unknown[5]}",
        json.dumps({"password": unknown[6], "inner": json.dumps({"api_key": unknown[7]})}),
        f"{{'client_secret': '{unknown[8]}'}} token={unknown[9]}",
        f"GET /hook?key={unknown[10]}&a=b",
        "-----BEGIN PRIVATE KEY-----\n" + unknown[11] + "\n-----END PRIVATE KEY-----",
        "task 6f9619ff8b86d011b42d00c04fc964ff stays, and the path /api/v1/query/",
    ]
    (var / "log" / "web.log").write_text("\n".join(lines), encoding="utf-8")
    (var / "log" / f"{planted['setting']}.log").write_text("named so")
    (var / "compose.txt").write_text("\n".join(lines), encoding="utf-8")
    TaskRun.objects.create(name="x", queue="default", state="failed", error=f"refused: {api_key} {planted['environ']}")
    sleeper = subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()", planted["environ"], api_key], stdin=subprocess.PIPE
    )

    try:
        texts = make(var / "b.tar.gz", "--include", str(var / "compose.txt"))
    finally:
        sleeper.communicate()

    everything = "\n".join([*texts, *texts.values()])
    assert CANARY not in everything
    assert base64.b64encode(unknown[3].encode()).decode() not in everything
    for secret in (api_key, api_key.partition(".")[2], webhook_secret, SESSION):
        assert secret not in everything
    assert str(sleeper.pid) in texts["processes.txt"]
    assert "task 6f9619ff8b86d011b42d00c04fc964ff stays, and the path /api/v1/query/" in texts["log/web.log"]
    assert "cache.example:6379" in texts["log/web.log"]


@pytest.mark.django_db(transaction=True)
def test_with_redis_down_the_rest_is_there_and_the_gap_is_named(var, quick, settings):
    settings.REDIS_URL = f"redis://:{CANARY}@127.0.0.1:{ports.find_free()}/0"

    texts = make(var / "b.tar.gz")

    assert texts["broker.json"].startswith("not available: ConnectionError")
    assert "Not collected:\nbroker.json: ConnectionError" in texts["README.txt"]
    assert "PostgreSQL" in texts["database.txt"]
    assert "Start Redis" in texts["doctor.json"]
    assert CANARY not in "".join(texts.values())


def test_with_postgres_and_redis_down_a_bundle_is_made_all_the_same(tmp_path):
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "web.log").write_text("the database is gone\n")
    environ = os.environ | {
        "DATABASE_URL": f"postgres://u:{CANARY}@127.0.0.1:{ports.find_free()}/x",
        "REDIS_URL": f"redis://:{CANARY}@127.0.0.1:{ports.find_free()}/0",
        "VAR_DIR": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "manage.py", "support_bundle", "--include", "-", "--output", "-"],
        input=b"web | a line of docker\n", cwd=real_settings.BASE_DIR, env=environ, capture_output=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr.decode()
    assert b"Traceback" not in done.stderr
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        texts = {one.name.partition("/")[2]: archive.extractfile(one).read().decode() for one in archive.getmembers()}
    for name in ("database.txt", "work.json", "schedules.json", "broker.json", "inspect-stats.json"):
        assert texts[name].startswith("not available: "), name
        assert f"{name}: " in texts["README.txt"]
    assert texts["log/web.log"] == "the database is gone\n"
    assert texts["included/standard-input.txt"] == "web | a line of docker\n"
    assert "python 3" in texts["versions.txt"]
    assert CANARY not in "".join(texts.values()) + done.stderr.decode()


def test_a_part_that_hangs_stops_nothing_else(var, monkeypatch):
    monkeypatch.setattr(bundle, "PART_SECONDS", 0.1)
    release = threading.Event()
    content = io.BytesIO()

    problems = bundle.write(
        content, redaction.Redactor([]), {}, {"slow.txt": lambda: str(release.wait(30)), "quick.txt": lambda: "here"}
    )
    release.set()

    assert problems == ["slow.txt: TimeoutError: no answer in 0 s"]
    with tarfile.open(fileobj=io.BytesIO(content.getvalue())) as archive:
        assert archive.extractfile("pasokh-support/quick.txt").read() == b"here\n"


def test_logs_are_cut_to_their_end_at_a_line(var, monkeypatch):
    monkeypatch.setattr(bundle, "LOG_MAX_BYTES", 40)
    (var / "log" / "web.log").write_text("password: " + "x" * 60 + "\nthe last line\n")

    content = io.BytesIO()
    bundle.write(content, redaction.Redactor([]), {}, {})

    with tarfile.open(fileobj=io.BytesIO(content.getvalue())) as archive:
        assert archive.extractfile("pasokh-support/log/web.log").read().decode() == bundle.CUT + "the last line\n"


@pytest.mark.parametrize(
    "secret",
    [
        "pk_3d7ba6ba8dc0d0d5.3h0tk5TgAZYdoQE_qdGOmJmhtDlxNnR",
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "sk-proj-abcdefghij0123456789",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
        "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=",
        "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj",
        SESSION,
    ],
)
def test_what_looks_like_a_secret_is_removed_though_nobody_knows_it(secret):
    assert redaction.Redactor([]).clean(f"before\n{secret}\nafter") == "before\n[removed]\nafter"


@pytest.mark.parametrize("text", ["a-" * 50_000, "http://a:" * 10_000, "eyJ" * 30_000, "A" * 100_000, "'\"\\" * 30_000])
def test_a_log_that_is_one_line_of_anything_is_cleaned(text):
    """A form that looks back at what it has read would take minutes here."""
    assert redaction.Redactor(["something"]).clean(f"{text} something").endswith(" [removed]")


def test_every_setting_that_is_shown_exists_and_none_is_a_secret():
    for name in parts.SETTINGS_SHOWN:
        assert hasattr(real_settings, name), name
    assert not {"SECRET_KEY", "DATABASES", "REDIS_URL", "CELERY_BROKER_URL", "LLM_API_KEY", "EMBEDDING_API_KEY"} & set(
        parts.SETTINGS_SHOWN
    )


def test_what_is_shown_of_settings_survives_the_redactor():
    shown = json.loads(redaction.of_this_installation().clean(parts.shown_settings()))

    assert [name for name, value in shown.items() if redaction.REMOVED in json.dumps(value)] == []


def test_a_file_that_cannot_be_written_or_read_is_told_in_one_line(var):
    for arguments in (["--output", "/nowhere/b.tar.gz"], ["--include", "/nowhere/log", "--output", "-"]):
        with pytest.raises(CommandError, match=r"cannot (write|read) /nowhere"):
            call_command("support_bundle", *arguments, stderr=io.StringIO())


@pytest.mark.django_db
def test_the_counts_cover_every_kind_of_row_that_has_a_state():
    TaskRun.objects.create(name="x", queue="default", created_at=timezone.now())
    counted = json.loads(parts.work())["rows_per_state"]

    assert {"chat.Message", "crawl.CrawlRun", "crawl.Page", "knowledge.SyncItem", "tasks_api.TaskRun"} <= set(counted)
