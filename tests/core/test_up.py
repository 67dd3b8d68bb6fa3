import dataclasses
import json
import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from core.embedded import ports
from core.up import checks, demo, environment, leftovers, screen, supervision
from core.up.errors import UpError
from core.up.places import Places
from tests.core import process_sessions
from tests.tenants.receiving import Receiver, Reply, receiving
from tests.workers import wait_until


@pytest.fixture
def places(tmp_path, monkeypatch):
    for name in ("DATABASE_URL", "REDIS_URL", "PORT", "FLOWER_PORT", "SECRET_KEY"):
        monkeypatch.delenv(name, raising=False)
    found = Places(process_sessions.CHECKOUT, tmp_path / "var")
    found.make()
    return found


def test_env_file_is_made_once_and_for_its_owner_only(places):
    first = environment.prepare(places)
    kept = places.env_file.read_text()

    assert environment.prepare(places) == first
    assert places.env_file.read_text() == kept
    assert stat.S_IMODE(places.env_file.stat().st_mode) == 0o600
    assert first.port == 7001
    assert first.postgres.url == first.database_url


def test_another_port_moves_the_addresses_made_from_it_and_no_others(places):
    environment.prepare(places)
    values = environment.read(places.env_file)
    environment.write(places.env_file, values | {"OUTBOUND_ALLOWED_HOSTS": "intranet.example:80"})

    environment.prepare(places, port=7002)

    values = environment.read(places.env_file)
    assert values["PUBLIC_URL"] == "http://127.0.0.1:7002"
    assert values["OUTBOUND_ALLOWED_HOSTS"] == "intranet.example:80"


def test_an_embedded_port_that_someone_took_is_replaced(places):
    before = environment.prepare(places)
    with socket.create_server(("127.0.0.1", before.postgres.port)):
        after = environment.prepare(places)

    assert after.postgres.port != before.postgres.port
    assert environment.read(places.env_file)["DATABASE_URL"] == after.database_url == after.postgres.url


def test_services_named_by_url_are_not_embedded(places, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgres://u:p@db.example/pasokh")
    environment.write(places.env_file, {"REDIS_URL": "redis://cache.example/0"})

    wanted = environment.prepare(places)

    assert (wanted.postgres, wanted.valkey) == (None, None)
    assert wanted.database_url == "postgres://u:p@db.example/pasokh"
    assert wanted.redis_url == "redis://cache.example/0"


@pytest.mark.parametrize("text", ["http", "0", "70000", "-1"])
def test_a_port_that_is_none_is_refused_in_one_line(places, monkeypatch, text):
    monkeypatch.setenv("PORT", text)

    with pytest.raises(UpError, match=f"PORT={text} is not a port"):
        environment.prepare(places)


def test_a_taken_port_is_told_with_its_holder_and_the_way_out(places):
    wanted = environment.prepare(places, port=ports.find_free(), flower_port=ports.find_free())
    with socket.create_server(("127.0.0.1", wanted.port)), pytest.raises(UpError) as caught:
        checks.check_ports(wanted)

    assert f"port {wanted.port} is taken" in str(caught.value)
    assert f"(process {os.getpid()})" in str(caught.value)
    assert f"PORT={wanted.port + 1} script/up" in str(caught.value)


def test_an_unreachable_database_is_told_in_one_line_without_its_password():
    with pytest.raises(UpError) as caught:
        checks.check_external_database(f"postgres://u:hidden@127.0.0.1:{ports.find_free()}/pasokh")

    assert "DATABASE_URL" in str(caught.value)
    assert "hidden" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unreachable_redis_is_told_in_one_line_without_its_password():
    with pytest.raises(UpError) as caught:
        checks.check_external_redis(f"redis://:hidden@127.0.0.1:{ports.find_free()}/0")

    assert "REDIS_URL" in str(caught.value)
    assert "hidden" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_services_this_test_runs_on_pass_the_checks():
    checks.check_external_database(os.environ["DATABASE_URL"])
    checks.check_external_redis(os.environ["REDIS_URL"])


def test_a_var_that_cannot_be_written_is_told_in_one_line(tmp_path):
    (tmp_path / "var").write_text("a file is in the way")

    with pytest.raises(UpError, match="cannot write to"):
        Places(process_sessions.CHECKOUT, tmp_path / "var").make()


def test_a_full_disk_is_told_before_anything_is_started(places, monkeypatch):
    monkeypatch.setattr(checks, "FREE_DISK_MINIMUM_BYTES", 2**80)

    with pytest.raises(UpError, match="the disk is nearly full"):
        checks.check_disk(places)


def test_a_long_path_gets_a_socket_in_a_short_private_folder(tmp_path):
    short, long = Places(tmp_path, Path("/v")), Places(tmp_path, tmp_path / ("x" * 100))

    assert short.socket() == Path("/v/run/supervisor.sock")
    socket_path = long.socket()
    assert len(os.fsencode(socket_path)) < 100
    assert stat.S_IMODE(socket_path.parent.stat().st_mode) == 0o700
    socket_path.parent.rmdir()


def test_only_processes_of_the_kept_session_that_work_here_are_leftovers(places):
    elsewhere = subprocess.Popen(["sleep", "60"], cwd="/", start_new_session=True)
    here = subprocess.Popen(["sleep", "60"], cwd=places.var, start_new_session=True)
    try:
        (places.run / "session").write_text(str(elsewhere.pid))
        assert leftovers.find(places) == []
        (places.run / "session").write_text(str(here.pid))
        assert leftovers.find(places) == [here.pid]
    finally:
        process_sessions.end(elsewhere)
        process_sessions.end(here)


def test_a_postmaster_file_whose_process_is_someone_else_is_forgotten(places):
    (places.var / "postgres").mkdir()
    stale = places.var / "postgres" / "postmaster.pid"
    stale.write_text(f"{os.getpid()}\n")

    leftovers.end(places)

    assert not stale.exists()


def test_a_start_is_ready_once_every_question_on_the_screen_is_answered(places):
    """Pages cited as the nearest to a question are no answer yet."""
    asked = []

    def reply(request):
        question = json.loads(request.body)["question"]
        asked.append(question)
        finish_reason = "answered" if asked.count(question) > 1 else "not_found"
        return Reply(body=json.dumps({"finish_reason": finish_reason, "citations": [{"n": 1}]}).encode())

    places.api_key_file.write_text("key")
    with receiving(Receiver(answer=reply)) as address:
        wanted = dataclasses.replace(environment.prepare(places), port=int(address.rpartition(":")[2]))
        demo.Site(places, wanted).wait_for_answers(check=lambda: None)

    assert asked == [question for question in screen.QUESTIONS for _time in range(2)]


class Installation:
    """``script/up`` on a ``var`` of its own, in a path with a space and Persian letters."""

    def __init__(self, folder):
        self.var = folder / "با فاصله var"
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        ports_of_its_own = {"PORT": str(ports.find_free()), "FLOWER_PORT": str(ports.find_free())}
        self.environ = kept | ports_of_its_own | {"VAR_DIR": str(self.var)}
        self.log = folder / "log"
        self.places = Places(process_sessions.CHECKOUT, self.var)

    def command(self, *words):
        return [sys.executable, "-m", "core.up", *words]

    def run(self, *words):
        return subprocess.run(
            self.command(*words), cwd=process_sessions.CHECKOUT, env=self.environ,
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    def session(self):
        return int((self.var / "run" / "session").read_text())


@pytest.fixture
def installation(tmp_path):
    tmp_path.chmod(0o755)
    found = Installation(tmp_path)
    yield found
    if (found.var / "run" / "session").exists():
        for pid in process_sessions.members(found.session()):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.slow
def test_up_runs_until_it_is_interrupted_and_leaves_no_process(installation):
    process = process_sessions.start(installation.command("up", "--no-demo"), installation.environ, installation.log)
    try:
        wait_until(
            lambda: "is running" in installation.log.read_text() or process.poll() is not None,
            90,
            installation.log.read_text,
        )
        assert process.poll() is None, installation.log.read_text()
        session = installation.session()
        wait_until(  # the comforts start last, after the screen is printed
            lambda: len(process_sessions.members(session)) > 10, 30, installation.log.read_text
        )

        again = installation.run("up", "--no-demo")
        assert again.returncode == 0
        assert "already running" in again.stderr

        process.send_signal(signal.SIGHUP)  # the terminal was closed
        assert process.wait(timeout=60) == 0
        assert process_sessions.members(session) == []
        assert not (installation.var / "postgres" / "postmaster.pid").exists(), "PostgreSQL was not stopped cleanly"
    finally:
        process_sessions.end(process)


@pytest.mark.slow
def test_up_starts_again_after_everything_was_killed(installation):
    assert installation.run("up", "--no-demo", "--detach").returncode == 0
    for pid in process_sessions.members(installation.session()):
        os.kill(pid, signal.SIGKILL)

    again = installation.run("up", "--no-demo", "--detach")
    assert again.returncode == 0, again.stderr

    os.kill(supervision.Manager(installation.places).pid(), signal.SIGKILL)  # its services live on without it
    assert process_sessions.members(installation.session())
    down = installation.run("down")
    assert "left behind" in down.stderr
    assert process_sessions.members(installation.session()) == []
    assert "nothing is running" in installation.run("down").stderr
