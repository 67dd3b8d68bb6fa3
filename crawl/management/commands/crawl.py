import json
import sys
import time
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from core import inspecting, queues
from core.errors import PasokhError
from core.states import State
from crawl import services
from crawl.errors import CrawlAlreadyActiveError
from crawl.models import CrawlRun, Website
from crawl.progress import CrawlProgress
from crawl.standing import Condition
from tenants.models import Tenant

POLL_SECONDS = 0.5
LINE_SECONDS = 5.0  # between two lines where there is no terminal
NO_WORKER_AFTER_SECONDS = 5.0
EXIT_FAILED = 1
EXIT_USAGE = 2


class Command(BaseCommand):
    help = (
        "Crawl a website for a tenant. The workers do it; --wait follows them. "
        "Exit status: 0 done (or started, without --wait), 1 the crawl failed, 2 it could not be started."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("url")
        parser.add_argument("--tenant", required=True, metavar="SLUG")
        parser.add_argument("--include", action="append", default=[], metavar="GLOB", help="paths to read: /docs/*")
        parser.add_argument("--exclude", action="append", default=[], metavar="GLOB", help="paths to leave out")
        parser.add_argument(
            "--content", action="append", default=[], metavar="CSS", help="what is the content: article, #main"
        )
        parser.add_argument(
            "--leave-out", action="append", default=[], metavar="CSS", help="what is never content: .comments"
        )
        parser.add_argument(
            "--render", action="store_true", help="have pages rendered that show their text with JavaScript only"
        )
        parser.add_argument("--every-hours", type=int, metavar="N", help="crawl it again by the clock")
        parser.add_argument("--max-pages", type=int)
        parser.add_argument("--max-depth", type=int)
        parser.add_argument("--wait", action="store_true", help="follow the crawl until it ends")
        parser.add_argument("--json", action="store_true", help="print the outcome as one JSON line")

    def handle(self, *args: Any, **options: Any) -> None:
        run = self._start(options)
        if options["wait"]:
            try:
                self._follow(run, is_quiet=options["json"])
            except KeyboardInterrupt:
                self.stderr.write("Stopped watching; the crawl goes on in the workers.")
        now = services.progress(run)
        self._print_outcome(run, now, as_json=options["json"], waited=options["wait"])
        if options["wait"] and now.state == State.FAILED:
            sys.exit(EXIT_FAILED)

    def _start(self, options: dict[str, Any]) -> CrawlRun:
        tenant = Tenant.objects.filter(slug=options["tenant"], is_active=True).first()
        if tenant is None:
            raise CommandError(
                f"No tenant “{options['tenant']}”. Make it: manage.py create_tenant {options['tenant']}",
                returncode=EXIT_USAGE,
            )
        try:
            website = services.add_website(
                tenant=tenant,
                url=options["url"],
                include=options["include"],
                exclude=options["exclude"],
                max_pages=options["max_pages"],
                max_depth=options["max_depth"],
                content=options["content"],
                leave_out=options["leave_out"],
                renders_javascript=options["render"],
                crawl_every_hours=options["every_hours"],
            )
            return services.start_crawl(website=website)
        except CrawlAlreadyActiveError:
            self.stderr.write("This website is already being crawled; showing that crawl.")
            return self._active_run(website)
        except PasokhError as exc:
            raise CommandError(str(exc), returncode=EXIT_USAGE) from exc

    def _active_run(self, website: Website) -> CrawlRun:
        return website.runs.latest("created_at")

    def _follow(self, run: CrawlRun, *, is_quiet: bool) -> None:
        console = Console(stderr=True)
        bar = Progress(
            TextColumn("{task.fields[stage]}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total} pages · {task.fields[rate]:.0f}/min"),
            TimeElapsedColumn(),
            console=console,
            disable=is_quiet or not console.is_terminal,
            transient=True,
        )
        with bar:
            shown = bar.add_task("", total=None, stage="waiting", rate=0.0)
            self._poll(run, bar, shown, prints_lines=not is_quiet and not console.is_terminal)

    def _poll(self, run: CrawlRun, bar: Progress, shown: TaskID, *, prints_lines: bool) -> None:
        began = last_line = time.monotonic()
        is_warned = False
        while not (now := services.progress(run)).is_finished:
            bar.update(
                shown,
                completed=now.finished,
                total=now.total,
                stage=now.stage if now.condition == Condition.MOVING else _with_place(now),
                rate=now.pages_per_minute,
            )
            if prints_lines and time.monotonic() - last_line >= LINE_SECONDS:
                last_line = time.monotonic()
                self.stderr.write(_line(now))
            if not is_warned and now.state == State.QUEUED and time.monotonic() - began > NO_WORKER_AFTER_SECONDS:
                is_warned = True
                self._warn_if_nobody_works()
            time.sleep(POLL_SECONDS)

    def _warn_if_nobody_works(self) -> None:
        if not is_consumed(queues.LOW_PRIORITY):
            self.stderr.write(
                f"No worker reads the queue {queues.LOW_PRIORITY}; the crawl starts when one does. "
                "Start it with script/up, or the service celery_worker."
            )

    def _print_outcome(self, run: CrawlRun, now: CrawlProgress, *, as_json: bool, waited: bool) -> None:
        if as_json:
            self.stdout.write(json.dumps({"run_id": str(run.pk)} | asdict(now), ensure_ascii=False, default=str))
            return
        if not waited:
            self.stdout.write(f"Crawl {run.pk} is queued. Follow it with the same command and --wait.")
            return
        counts = ", ".join(f"{count} {state}" for state, count in now.counts.items() if count) or "no pages"
        self.stdout.write(f"{now.state}: {counts} ({now.pages_per_second:.1f} pages/s).")
        if now.unchanged:
            self.stdout.write(f"{now.unchanged} had not changed.")
        if now.dropped:
            self.stdout.write(f"{now.dropped} links were left out: the limit is {run.website.max_pages} pages.")
        if now.trapped:
            self.stdout.write(f"{now.trapped} links were left out as endless variants of pages, such as calendars.")
        for what, count in [*sorted(now.reasons.items()), *sorted(now.renderings.items())]:
            self.stdout.write(f"  {count} × {what}")
        if now.error:
            self.stderr.write(now.error)


def _line(now: CrawlProgress) -> str:
    """Return the crawl's progress as a line: stage, pages, rate, what it does, and what is left."""
    left = f", about {round(now.eta_seconds)} s left" if now.eta_seconds is not None else ""
    rate = f"{now.pages_per_minute:.0f}/min"
    return f"{now.stage}: {now.finished} of {now.total} pages, {rate}, {_with_place(now)}{left}"


def _with_place(now: CrawlProgress) -> str:
    return f"{now.condition}, place {now.place}" if now.place else now.condition


def is_consumed(queue: str) -> bool:
    """Return whether a worker that answers within a second reads the queue."""
    active = inspecting.active_queues(seconds=1.0)
    return any(entry["name"] == queue for entries in active.values() for entry in entries)
