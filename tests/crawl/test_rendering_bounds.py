"""What keeps a renderer in bounds, each wall by itself; no browser takes part."""

import json
import subprocess
import sys
import time

import pytest

from core import doctor
from core.settings import BASE_DIR
from crawl import services
from crawl.models import Host, Website
from crawl.rendering import asking, usable
from crawl.rendering.asking import Allowance
from crawl.rendering.tree import Tree
from tenants.services import create_api_key
from tests.api_client import ApiClient, pointers
from tests.site import Answer
from tests.workers import wait_until

CONFINED = """
import json, os, socket, subprocess, sys
from crawl.rendering.confining import confine
confine(cpu_seconds=5)
TRY = '''
import json, socket
found = {}
for name, attempt in {
    "ipv4": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
    "ipv6": lambda: socket.socket(socket.AF_INET6),
    "netlink": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
    "packet": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW),
    "path": lambda: socket.socket(socket.AF_UNIX).connect("/tmp"),
    "pair": socket.socketpair,
}.items():
    try:
        attempt()
        found[name] = "open"
    except OSError as exc:
        found[name] = type(exc).__name__
print(json.dumps(found))
'''
subprocess.run([sys.executable, "-c", TRY], check=True)
print(os.getpriority(os.PRIO_PROCESS, 0))
"""


def asked(url, kind="fetch", method="GET"):
    return {"url": url, "type": kind, "method": method}


@pytest.fixture
def allowance(site, db):
    def make(**rules):
        asking._kept = asking.Kept()
        return Allowance("crawl", rules.get("rules", {}), ends_at=time.monotonic() + 5)

    return make


def test_the_kernel_refuses_every_connection_to_a_confined_process_and_its_descendants():
    done = subprocess.run([sys.executable, "-c", CONFINED], cwd=BASE_DIR, capture_output=True, text=True, check=True)

    *_before, found, nice = done.stdout.splitlines()
    refused = dict.fromkeys(("ipv4", "ipv6", "netlink", "packet", "path"), "PermissionError")
    assert json.loads(found) == refused | {"pair": "open"}
    assert nice == "19"


def test_a_tree_is_ended_with_those_who_left_their_parent_and_their_group():
    script = "setsid sleep 300 & (setsid sleep 300 &) ; setsid sh -c 'sleep 300 & sleep 300' & wait"
    process = subprocess.Popen(["sh", "-c", script])
    tree = Tree(process.pid)
    wait_until(lambda: len(tree.look()) >= 4, 10)
    members = tree.look()
    assert tree.memory_bytes() > 0

    tree.end()
    process.wait(timeout=10)

    wait_until(lambda: not set(members) & set(Tree(1).look()), 10)


def test_a_renderer_ends_when_its_worker_has_died(tmp_path):
    order = {"url": "http://a.example/", "browser": "/bin/sleep", "sandbox": False, "seconds": 60, "user_agent": ""}
    script = (
        "import sys; from crawl.rendering import wire\n"
        f"wire.send(sys.stdout.buffer, {order | {'max_bytes': 10, 'script_megabytes': 10}!r}, b'x')\n"
    )
    message = subprocess.run([sys.executable, "-c", script], cwd=BASE_DIR, capture_output=True, check=True).stdout
    process = subprocess.Popen(
        [sys.executable, "-m", "crawl.rendering.child"],
        cwd=BASE_DIR,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    process.stdin.write(message)
    process.stdin.close()

    assert process.wait(timeout=20) == -9


def test_a_page_gets_what_the_guarded_client_fetches_and_no_cookies(allowance, site):
    site.routes["/data"] = Answer(b"{}", headers={"Content-Type": "application/json", "Set-Cookie": "a=b"})
    site.routes["/moved"] = Answer(status=302, headers={"Location": "/data"})

    given = allowance().give(asked(f"{site.url}/moved"))

    assert (given.status, given.body, dict(given.headers)) == (200, b"{}", {"content-type": "application/json"})
    assert not any("cookie" in headers for _method, _path, headers in site.requests)


@pytest.mark.parametrize(
    "what",
    [
        {"url": "http://169.254.169.254/latest/"},
        {"url": "http://127.0.0.1:6379/"},
        {"url": "file:///etc/passwd"},
        {"url": "not a url"},
        {"type": "image"},
        {"type": "document"},
        {"method": "POST"},
        {"method": "OPTIONS"},
        {},
    ],
)
def test_a_page_gets_nothing_else(allowance, site, what):
    what = what and asked(f"{site.url}/x") | what

    assert allowance().give(what) == asking.NOTHING
    assert site.requests == []


def test_a_page_keeps_to_robots_txt_and_to_its_share(allowance, site, settings):
    settings.CRAWL_RENDER_MAX_REQUESTS = 3
    settings.CRAWL_RENDER_MAX_BYTES = 150
    site.routes["/data"] = Answer(b"x" * 100)
    mine = allowance(rules={site.url: "User-agent: *\nDisallow: /private"})

    statuses = [mine.give(asked(f"{site.url}{path}")).status for path in ("/private", "/data", "/data", "/data")]

    assert statuses == [0, 200, 0, 0]  # forbidden; had; too much; no request left
    assert mine.refused_count == 3
    assert site.paths().count("/data") == 2


def test_scripts_are_fetched_once_for_all_pages_of_a_crawl(allowance, site):
    site.routes["/app.js"] = Answer(b"run()")
    one = allowance()
    other = Allowance("crawl", {}, ends_at=one.ends_at)
    foreign = Allowance("another crawl", {}, ends_at=one.ends_at)

    given = [mine.give(asked(f"{site.url}/app.js", "script")) for mine in (one, other, foreign)]

    assert {item.body for item in given} == {b"run()"}
    assert len(site.requests) == 2


def test_kept_scripts_take_no_more_room_than_agreed(monkeypatch):
    monkeypatch.setattr(asking, "KEPT_MAX_BYTES", 250)
    kept = asking.Kept()

    for name in "abc":
        kept.add("crawl", name, asking.Given(200, {}, b"x" * 100))

    assert [kept.get("crawl", name) is not None for name in "abc"] == [False, True, True]


def test_a_page_waits_for_the_host_and_gives_up_when_its_time_does_not_suffice(allowance, site, settings):
    mine = allowance()
    Host.objects.create(name=site.host_port, lease_until="2100-01-01T00:00Z", next_request_at="2100-01-01T00:00Z")

    assert mine.give(asked(f"{site.url}/x")) == asking.NOTHING
    assert site.requests == []


@pytest.mark.django_db
def test_who_asks_for_rendering_where_it_is_off_is_told_so(tenant, settings):
    caller = ApiClient(create_api_key(tenant=tenant, name="server")[1])
    website = {"url": "acme.example", "renders_javascript": True}

    refused = caller.post("websites", website)
    settings.CRAWL_RENDERER = "playwright"
    added = caller.post("websites", website)
    path = f"websites/{added.json()['id']}"

    assert (refused.status_code, refused.json()["code"]) == (422, "rendering_not_offered")
    assert pointers(refused) == ["/renders_javascript"]
    assert added.json()["renders_javascript"] is True
    settings.CRAWL_RENDERER = "off"
    assert caller.patch(path, {"name": "Acme"}).json()["renders_javascript"] is True
    assert caller.patch(path, {"renders_javascript": False}).json()["renders_javascript"] is False


@pytest.mark.django_db
def test_the_admin_offers_rendering_only_where_it_is_switched_on(tenant, settings, admin_client):
    website = services.add_website(tenant=tenant, url="https://acme.example/")
    form = {
        "renders_javascript": "on", "name": "Acme", "include_patterns": "[]", "exclude_patterns": "[]",
        "content_selectors": "[]", "exclude_selectors": "[]", "max_pages": "10", "max_depth": "5",
    }  # fmt: skip
    wanted = []
    for settings.CRAWL_RENDERER in ("off", "playwright", "off"):
        answer = admin_client.post(f"/admin/crawl/website/{website.pk}/change/", form)
        assert answer.status_code == 302
        wanted.append(Website.objects.get().renders_javascript)

    assert wanted == [False, True, True]


BROKEN = {"CRAWL_RENDERER_BROWSER": "/bin/false", "CRAWL_RENDERER_SANDBOX": False}


@pytest.mark.parametrize(
    ("values", "detail"),
    [
        ({"CRAWL_RENDERER": "off"}, "off"),
        ({"CRAWL_RENDERER_BROWSER": "/nowhere/chromium"}, "there is no browser /nowhere/chromium"),
        ({"package": None}, "the package playwright is not installed"),
        ({"user": 0, "CRAWL_RENDERER_BROWSER": "/bin/sh"}, "Chromium's sandbox does not start as root"),
        (BROKEN, "/bin/false: BrowserType.launch"),
    ],
)
def test_doctor_tells_what_a_renderer_lacks(settings, monkeypatch, tmp_path, values, detail):
    settings.CRAWL_RENDERER, settings.VAR_DIR = "playwright", tmp_path
    for name in values.keys() - {"package", "user"}:
        setattr(settings, name, values[name])
    monkeypatch.setattr(usable.importlib.util, "find_spec", lambda _name: values.get("package", object()))
    monkeypatch.setattr(usable.os, "geteuid", lambda: values.get("user", 1000))

    (finding,) = doctor._check_renderer()

    assert finding.detail.startswith(detail)
    assert finding.ok == (detail == "off")
    assert bool(finding.fix) != finding.ok
