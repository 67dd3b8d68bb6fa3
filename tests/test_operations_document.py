"""The runbook, docs/operations.md, read and run.

A block marked ``sh docker`` is followed by the same block marked ``sh local``. Each line of the first, put through the
table below, must give the second; the second is run, in the order of the page, on an installation of its own.
"""

import os
import re
import shutil
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from core import processes
from core.embedded import ports
from core.support import running
from tests.site import running_site
from tests.workers import wait_until

CHECKOUT = Path(__file__).resolve().parent.parent
ENGLISH, PERSIAN = CHECKOUT / "docs" / "operations.md", CHECKOUT / "docs" / "operations.fa.md"
COMPOSE = yaml.safe_load((CHECKOUT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
SITES = ("one", "two", "three", "four", "five")
COMMAND_SECONDS = 180  # a bound for what hangs

EVERYTHING = 'script/services restart "app:*"'

# What Docker's form of a line becomes for the processes of script/up, tried in this order.
TRANSLATIONS = (
    (r"docker compose run --rm migrate", "python manage.py migrate --noinput && python manage.py seed_schedules"),
    (r"docker compose exec -T db pg_dump -U pasokh -Fc pasokh", 'pg_dump -Fc "$DATABASE_URL"'),
    (
        r"docker compose exec -T redis sh -c 'REDISCLI_AUTH=\"\$REDIS_PASSWORD\" redis-cli (.*)'",
        r'REDISCLI_AUTH="$VALKEY_PASSWORD" redis-cli -p "$VALKEY_PORT" \1',
    ),
    (r" --include - --output - < backup/docker\.txt > (\S+)", r" --output \1"),
    (r"docker compose exec -T (?:db|web|celery_worker|celery_ai) ", ""),
    (r"docker compose ps", "script/services status"),
    (r"docker compose logs --no-color --tail=(\d+) (\w+)", r"tail -n \1 var/log/\2.log"),
    (r"docker compose down", "script/down"),
    (r"docker compose up -d$", "script/up --detach"),
    (r"docker compose (?:up -d --no-deps|restart) celery_ai celery_worker sweeper celery_beat flower web", EVERYTHING),
    (r"docker compose up -d --no-deps (.*)", r"script/services restart \1"),
    (r"docker compose (stop|start|restart) (.*)", r"script/services \1 \2"),
    (r"\.env\b", "var/env"),
)
# Lines of Docker that nothing local stands for: the parts of a bundle that a container cannot see itself.
DOCKER_ALONE = {
    "docker compose build",
    "{ docker compose ps; docker stats --no-stream; docker compose logs --no-color --tail=1000; } > backup/docker.txt",
}
# Blocks that a test cannot run as they stand, with the reason; each must be on the page.
NOT_RUN = {
    "git pull --ff-only": "it would change the code under test",
    "git checkout --detach HEAD~1": "it would change the code under test",
    "script/down\nscript/up --detach": "the installation of this test is started and stopped with these commands",
}
# What the output must hold, by heading; the last block of the heading is meant unless a line is named.
EXPECTED = {
    "python manage.py fix_chunk_index": [r"0 rows updated from NULL to 0; 0 are NULL now"],
    "celery -A core inspect stats": [
        r"4 nodes online",
        r"app:celery_ai +RUNNING",
        r"'low_priority'",
        r"prefetch_count",
    ],
    "python manage.py doctor": [r"ok +queue high_priority", r"ok +beat", r"ok +sweeper"],
    "LLEN low_priority": [r"^\d+\n\d+\n\d+\n"],
    "for site in one two": [r"(is queued[\s\S]*){5}", r"greeting · answered · queue_wait \d+ ms"],
    "pg_restore --list": [r"^[3-9]\d\n"],
    "INFO memory": [r"used_memory:\d+"],
    "support_bundle": [r"support\.tar\.gz: \d+ kB"],
}


@dataclass(frozen=True)
class Block:
    heading: str
    kind: str  # docker or local
    text: str


def blocks(page):
    found, heading = [], ""
    for match in re.finditer(r"^## ([^\n]+)$|^```(\S*) ?(\w*)\n(.*?)^```$", page.read_text("utf-8"), re.M | re.S):
        if match[1]:
            heading = match[1]
        else:
            assert (match[2], match[3]) in {("sh", "docker"), ("sh", "local")}, f"a block of unknown kind: {match[0]}"
            found.append(Block(heading, match[3], match[4].strip()))
    return found


BLOCKS = blocks(ENGLISH)
LOCAL = [block for block in BLOCKS if block.kind == "local"]
PRELUDE, *STEPS = LOCAL
RUN = [block for block in STEPS if block.text not in NOT_RUN]


def translated(line):
    for form, local in TRANSLATIONS:
        line = re.sub(form, local, line)
    return re.sub(
        r"(script/services \w+) ([a-z_ ]+)$",
        lambda m: f"{m[1]} " + " ".join(f"app:{name}" for name in m[2].split()),
        line,
    )


def test_each_docker_block_has_its_local_block_which_says_the_same():
    pairs = BLOCKS[1:]
    assert len(pairs) % 2 == 0
    for docker, local in zip(pairs[::2], pairs[1::2], strict=True):
        assert (docker.kind, local.kind, docker.heading) == ("docker", "local", local.heading)
        lines = [translated(line) for line in docker.text.splitlines() if line not in DOCKER_ALONE]
        assert "\n".join(lines).replace("script/services status app:", "script/services status") == local.text


def test_every_service_named_is_one_of_compose():
    for block in BLOCKS:
        names = re.findall(r"exec -T (\w+)|run --rm (\w+)|--tail=50 (\w+)", block.text)
        groups = re.findall(r"docker compose (?:stop|start|restart|up -d --no-deps) ([\w ]+)$", block.text, re.M)
        for name in [*(name for found in names for name in found if name), *" ".join(groups).split()]:
            assert name in COMPOSE, f"{name} in {block.text}"


def test_what_stands_for_the_migration_is_what_compose_runs():
    assert COMPOSE["migrate"]["command"][-1] == translated("docker compose run --rm migrate")


def test_everything_is_every_service():
    [line] = {
        line for block in BLOCKS for line in block.text.splitlines() if line.startswith("docker compose restart ")
    }

    assert set(line.split()[3:]) == {service.name for service in processes.SERVICES}
    assert translated(line) == EVERYTHING


def test_exceptions_are_on_the_page():
    lines = {line for block in BLOCKS for line in block.text.splitlines()}

    assert set(NOT_RUN) <= {block.text for block in STEPS}
    assert lines >= DOCKER_ALONE
    for part in EXPECTED:
        assert any(part in block.text + "\n" for block in RUN), part


def test_the_persian_page_holds_the_same_commands_and_the_same_structure():
    def shape(page):
        text = page.read_text("utf-8")
        outside = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
        return [re.match(r"#+|\||- \[ \]|-", line)[0] for line in outside.splitlines() if re.match(r"#|\||- ", line)]

    assert [(block.kind, block.text) for block in blocks(PERSIAN)] == [(block.kind, block.text) for block in BLOCKS]
    assert shape(PERSIAN) == shape(ENGLISH)


@pytest.fixture(scope="module")
def installation(tmp_path_factory):
    """A folder like a checkout, with a ``var`` of its own and everything running; yields how to run lines there."""
    folder = tmp_path_factory.mktemp("runbook")
    for parent in (folder, *folder.parents[:2]):
        parent.chmod(0o755)  # the account that Postgres runs as passes
    for entry in CHECKOUT.iterdir():
        if entry.name not in {"var", "backup"}:
            (folder / entry.name).symlink_to(entry)
    (folder / "var").mkdir()
    dropped = ("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "DJANGO_SETTINGS_MODULE")
    environ = {name: value for name, value in os.environ.items() if name not in dropped} | {
        "VAR_DIR": str(folder / "var"),
        "PASOKH_ENV_FILE": str(folder / "var" / "env"),
        "PORT": str(ports.find_free()),
        "FLOWER_PORT": str(ports.find_free()),
    }
    with ExitStack() as stack:
        sites = {name: stack.enter_context(running_site(5)) for name in SITES}
        environ |= {name: f"{site.url}/" for name, site in sites.items()}
        allowed = ",".join(site.host_port for site in sites.values())
        (folder / "var" / "env").write_text(f"OUTBOUND_ALLOWED_HOSTS={allowed}\n")
        here = Installation(folder, environ)
        try:
            here.control("up", "--detach", "--no-demo")  # what script/up does once .venv is there
            here.run("python manage.py create_tenant acme --language fa")
            yield here
        finally:
            here.control("down")


class Installation:
    def __init__(self, folder, environ):
        self.folder = folder
        self.environ = environ
        shims = folder / "shims"
        shims.mkdir()
        if shutil.which("redis-cli") is None:
            (shims / "redis-cli").write_text(REDIS_CLI)
            (shims / "redis-cli").chmod(0o755)
        self.environ["PATH"] = f"{self.environ['PATH']}{os.pathsep}{shims}"

    def control(self, *words):
        done = subprocess.run(
            [sys.executable, "-m", "core.up", *words], cwd=self.folder, env=self.environ, text=True,
            capture_output=True, timeout=COMMAND_SECONDS, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr

    def run(self, text):
        text = text.replace("https://$site.example/", "${!site}")  # the variable that $site names
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", f"{PRELUDE.text}\n{text}"], cwd=self.folder, env=self.environ,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=COMMAND_SECONDS, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{text}\n{done.stdout}"
        return done.stdout

    def wait_until_well(self):
        """Wait until every service passes its own health check."""
        health = [service.health[3:] for service in processes.SERVICES]
        checked = f"python -m core.health {' '.join(name for names in health for name in names)}"
        environ = self.environ | {
            "UVICORN_PORT": self.environ["PORT"],
            "FLOWER_BASIC_AUTH": f"admin:{self.variable('FLOWER_PASSWORD')}",
        }

        def is_well():
            done = subprocess.run(checked.split(), cwd=CHECKOUT, env=environ, capture_output=True, check=False)
            return done.returncode == 0

        wait_until(is_well, 90, lambda: f"not well: {health}")

    def variable(self, name):
        return re.search(rf"^{name}=(.*)$", (self.folder / "var" / "env").read_text(), re.M)[1]


REDIS_CLI = f"""#!{sys.executable}
import os, sys, redis
_p, port, *words = sys.argv[1:]
client = redis.Redis(port=int(port), password=os.environ["REDISCLI_AUTH"], decode_responses=True)
answer = client.execute_command(*words)
print("\\n".join(f"{{k}}:{{v}}" for k, v in answer.items()) if isinstance(answer, dict) else answer)
"""


@pytest.mark.slow
@pytest.mark.parametrize("block", RUN, ids=lambda block: block.text.splitlines()[0][:60])
def test_the_commands_work(block, installation):
    if re.search(r"\binspect\b|doctor|ask|status", block.text):
        installation.wait_until_well()

    output = installation.run(block.text)

    for part, forms in EXPECTED.items():
        if part in block.text:
            for form in forms:
                assert re.search(form, output, re.M), output
    if "ask --tenant" in block.text:
        assert "answered" in output
    if block.text.endswith("inspect active_queues"):  # after rollback A
        assert "2 nodes online" in output
        assert {"high_priority", "default", "low_priority"} == set(re.findall(r"\{'name': '(\w+)'", output))


@pytest.mark.slow
def test_celery_ai_costs_no_more_than_the_page_says(installation):
    installation.wait_until_well()
    mine = str(installation.folder)
    found = [one for one in running.processes() if mine in Path(f"/proc/{one.pid}/environ").read_text(errors="replace")]
    [manager] = [one for one in found if "deploy/celery_ai.conf" in one.command]

    used = manager.pss_kb + sum(one.pss_kb for one in found if one.parent == manager.pid)

    assert 0 < used // 1024 < 500
