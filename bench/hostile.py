"""Hostile servers: ``script/bench hostile [--quick] [--only host-05 …] [--list FILE]``.

Each case of `bench.hostile_cases` is a site at a loopback address of its own, crawled by the very tasks that workers
run, here in one process, so that its memory can be looked at and every address that it dials is on record: an audit
hook sees all connections of the interpreter. The sites count as strangers' (one page at a time), but for the pauses,
which are skipped. A case passes if the crawl ends as it should, its pages are said to be what they are, the page after
the hostile one is read, and nothing but its own server was contacted.
"""

import argparse
import json
import socket
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from celery import current_app
from django.conf import settings
from django.utils import timezone

from bench import figures
from bench.hostile_cases import CASES, Case
from bench.hostile_checks import CHECKS
from bench.world import PYTHON, World
from core.embedded import ports
from core.states import State
from crawl import fetching, hosts, processing, sending, services, slices
from crawl.models import CrawlRun, Host, Page
from crawl.sweeping import sweep
from tenants.models import Tenant
from tenants.services import create_tenant

ROUNDS_MAX = 60
CASE_SECONDS_MAX = 240
GROWTH_MAX_MB = 64
PAGE_MAX_SECONDS = 30


def main(here: World) -> None:
    """Crawl every case and print what came of it."""
    options = parse()
    chosen = [case for case in CASES if not options.only or case.id in {"usual", *options.only}]
    port = ports.find_free()
    start_servers(here, port)
    settings.OUTBOUND_ALLOWED_HOSTS = [f"{case.address}:{number}" for case in chosen for number in (port, port + 1)]
    if options.quick:
        settings.OUTBOUND_CONNECT_TIMEOUT_SECONDS = settings.OUTBOUND_READ_TIMEOUT_SECONDS = 1.0
        settings.OUTBOUND_TOTAL_TIMEOUT_SECONDS = 2.0
    watch = Watch(port)
    watch.install()
    tenant = create_tenant(slug="bench")
    usual = crawl(tenant, chosen.pop(0), port, watch)  # warms up, and shows that the watch is not deaf
    if not usual["dials"]:
        raise RuntimeError("no connection was heard of, although pages were fetched")
    report([crawl(tenant, case, port, watch) for case in chosen], options)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="short timeouts: half a minute")
    parser.add_argument("--only", nargs="*", default=[], metavar="ID")
    parser.add_argument("--list", type=Path, metavar="FILE", help="a JSON list of behaviours; says which have no case")
    return parser.parse_args()


def start_servers(here: World, port: int) -> None:
    folder = here.folder / "hostile"
    folder.mkdir()
    process = here.start("hostile", [PYTHON, "-m", "bench.hostile_server", str(port), str(folder)])
    log = here.log("hostile")
    here.wait_for(lambda: "ready" in log.read_text(), "the servers do not start", process=process, log="hostile")


class Watch:
    """What this process dials, how long pages take, how much memory they need."""

    def __init__(self, port: int) -> None:
        self.ports = {port, port + 1}
        own = [settings.DATABASES["default"]["PORT"], settings.REDIS_URL.rpartition(":")[2].partition("/")[0]]
        self.own_ports = {int(number) for number in own if str(number).isdigit()}
        self.dialled: list[tuple[str, int]] = []
        self.seconds: dict[tuple[str, str], float] = {}  # by URL and step, the longest try of each
        self.messages: list[tuple[str, dict[str, Any]]] = []

    def install(self) -> None:
        """Stand between the crawl and the outside."""
        sys.addaudithook(self._hear)
        current_app.loader.import_module("crawl.tasks")
        slices.TROUBLE_MAX = 5  # a site that is silent is given up sooner: each of its silences takes 10 s
        hosts.burst = lambda _url: 1
        sending._after_commit = lambda name, _tenant_id, **kwargs: self.messages.append((name, kwargs))
        fetching.outbound.fetch = self._timed(fetching.outbound.fetch, lambda url, **_options: url)
        processing.read = self._timed(processing.read, lambda page, _turn: page.url)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "socket.connect" and arguments[0].family in {socket.AF_INET, socket.AF_INET6}:
            self.dialled.append(arguments[1][:2])

    def _timed(self, function: Callable[..., Any], name: Callable[..., str]) -> Callable[..., Any]:
        def timed(*arguments: Any, **options: Any) -> Any:
            started = time.monotonic()
            try:
                return function(*arguments, **options)
            finally:
                step = (name(*arguments, **options), function.__name__)
                self.seconds[step] = max(self.seconds.get(step, 0.0), time.monotonic() - started)

        return timed

    def pages(self) -> dict[str, float]:
        """Return how long each page took: its longest fetch and its longest reading together."""
        total: dict[str, float] = defaultdict(float)
        for (url, _step), took in self.seconds.items():
            total[url] += took
        return total

    def forbidden(self, case: Case) -> list[tuple[str, int]]:
        """Return what was dialled since the last call but the case's server and our own database and Redis."""
        dialled, self.dialled = self.dialled, []
        allowed = {(case.address, port) for port in self.ports} | {("127.0.0.1", port) for port in self.own_ports}
        return [address for address in dialled if address not in allowed]


def crawl(tenant: Tenant, case: Case, port: int, watch: Watch) -> dict[str, Any]:
    """Crawl the case's site as often as it says and return the outcome."""
    scheme, number = ("https", port + 1) if case.tls or case.raw else ("http", port)
    root = f"{scheme}://{case.address}:{number}"
    watch.seconds = {}
    with measured_memory() as memory:
        started = time.monotonic()
        run = None
        for _crawl in range(case.crawls):
            website = services.add_website(tenant=tenant, url=f"{root}/", max_pages=case.max_pages)
            run = services.start_crawl(website=website)
            pauses = work(run, watch)
        seconds = time.monotonic() - started
    assert run is not None  # noqa: S101 -- every case is crawled
    dials = len(watch.dialled)
    forbidden = watch.forbidden(case)
    complaints = [*judge(case, run, root), *CHECKS[case.check](run, seen(case, port), pauses, watch.pages())]
    complaints += [f"dialled {address}" for address in forbidden]
    growth, longest = memory[0], max(watch.pages().values(), default=0.0)
    complaints += [f"{growth:.0f} MiB"] if growth > GROWTH_MAX_MB else []
    complaints += [f"a page took {longest:.1f} s"] if longest > PAGE_MAX_SECONDS else []
    print(f"{case.id:9} {case.name:36} {seconds:6.1f} s {growth:6.1f} MiB  {'; '.join(complaints) or 'ok'}", flush=True)
    return {
        "case": case, "complaints": complaints, "growth": growth, "longest": longest, "forbidden": len(forbidden),
        "dials": dials,
        "seconds": seconds,
    }  # fmt: skip


def work(run: CrawlRun, watch: Watch) -> list[float]:
    """Do what workers and sweeper do until the run ends, without its pauses; return how long those would have been."""
    pauses: list[float] = []
    deadline = time.monotonic() + CASE_SECONDS_MAX
    for _round in range(ROUNDS_MAX):
        while watch.messages and time.monotonic() < deadline:
            name, kwargs = watch.messages.pop(0)
            current_app.tasks[name](**kwargs)
        run.refresh_from_db()
        if run.is_finished or time.monotonic() > deadline:
            break
        now = timezone.now()
        waits = [run.not_before, *Host.objects.values_list("next_request_at", flat=True)]
        pauses += [(moment - now).total_seconds() for moment in waits if moment]
        Host.objects.update(next_request_at=None)
        CrawlRun.objects.filter(pk=run.pk).update(send_at=run.created_at, not_before=None)
        run.pages.update(not_before=None)
        sweep()
    return pauses


def judge(case: Case, run: CrawlRun, root: str) -> list[str]:
    """Return what is not as it should be in the run and its pages."""
    complaints = [] if run.state == case.run else [f"the run is {run.state}: {run.error}"]
    reasons = {page.url.removeprefix(root): page.reason for page in Page.objects.filter(website=run.website)}
    for path, allowed in case.expected.items():
        reason = reasons.get(quote(path, safe="/%?=&"), "not on the list")
        if reason not in allowed and "*" not in allowed:
            complaints.append(f"{path} is “{reason}”")
        if Page.objects.filter(website=run.website, state__in=["queued", "fetched"]).exists() and run.is_finished:
            complaints.append(f"{path} is left open")
    if case.run == State.DONE and reasons.get("/good") not in {"", "unchanged"}:
        complaints.append(f"the good page is “{reasons.get('/good')}”")
    return complaints


def seen(case: Case, port: int) -> list[dict[str, str]]:
    """Return what the case's server was asked for, by asking it in another process: ours is being watched."""
    code = "import sys, urllib.request; sys.stdout.buffer.write(urllib.request.urlopen(sys.argv[1]).read())"
    done = subprocess.run(
        [sys.executable, "-c", code, f"http://{case.address}:{port}/__seen"], capture_output=True, check=True
    )
    return json.loads(done.stdout)


@contextmanager
def measured_memory() -> Iterator[list[float]]:
    """Yield a list that afterwards holds by how many MiB the process grew at its highest."""
    grown: list[float] = []
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark begins anew
    before = status("VmRSS")
    yield grown
    grown.append((status("VmHWM") - before) / 1024)


def status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def report(results: list[dict[str, Any]], options: argparse.Namespace) -> None:
    passed = sum(not result["complaints"] for result in results)
    rows = [
        (result["case"].id, result["case"].name, "; ".join(result["complaints"]))
        for result in results
        if result["complaints"]
    ]
    print(f"\n{figures.machine()}\n")
    print(figures.table(("case", "what", "complaints"), rows))
    if options.list:
        ids = {behaviour["id"] for behaviour in json.loads(options.list.read_text())["behaviours"]}
        covered = {result["case"].id.rstrip("abcde") for result in results}
        print(f"\n{len(ids & covered)} of {len(ids)} behaviours of the list; without a case: {sorted(ids - covered)}")
    print(
        figures.last_line(
            "hostile",
            cases=len(results),
            passed=passed,
            max_rss_growth_mb=round(max(result["growth"] for result in results), 1),
            longest_page_s=round(max(result["longest"] for result in results), 1),
            forbidden_dials=sum(result["forbidden"] for result in results),
        )
    )
