"""Events to a receiver that fails at random while the sender is killed: ``script/bench webhooks [--events 10000]``.

Each kill takes the whole worker with its children, in the middle of whatever it sends, and sometimes the sweeper too.
What counts is read from the receiver: which ids it accepted, and how often. The pauses between attempts are shortened
so that the run fits into minutes; everything else is as it ships.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import threading
import time
import urllib.request
from contextlib import suppress

from django.conf import settings
from django.db import connection, transaction
from standardwebhooks import Webhook

from bench import figures
from bench.world import PYTHON, World
from core import processes
from core.states import OPEN_STATES, State
from tenants import services
from tenants.models import Tenant, WebhookAttempt, WebhookDelivery, WebhookEvent

TENANTS = 10
BATCH = 50
SEED = 20261121
PATIENCE_SECONDS = 600.0  # how long to wait for progress before the run counts as stuck
SHORTENED = {
    "WEBHOOK_TIMEOUT_SECONDS": "2",
    "WEBHOOK_SLICE_SECONDS": "2",  # with the time-out it makes a lease of 14 s
    "WEBHOOK_RETRY_DELAYS_SECONDS": "0.5,1,2,2,3,3,3,3,3",
}
WORKER = (PYTHON, "-m", "celery", "-A", "core", "--quiet", "worker", "-n", "bg@%h", "-Q", "default,low_priority",
          "-P", "prefork", "-c", "4", "--without-gossip", "--without-mingle")  # fmt: skip


class Sender:
    """The worker and the sweeper, started again after each kill as their process manager would."""

    def __init__(self, here: World, environ: dict[str, str]) -> None:
        self.here, self.environ = here, environ
        self.running = {"worker": self._start("worker"), "sweeper": self._start("sweeper")}

    def kill(self, name: str) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.running[name].pid, signal.SIGKILL)
        self.running[name].wait()
        self.running[name] = self._start(name)

    def revive(self) -> None:
        """Start again what ended by itself."""
        for name, process in self.running.items():
            if process.poll() is not None:
                self.running[name] = self._start(name)

    def _start(self, name: str) -> subprocess.Popen[bytes]:
        command = WORKER if name == "worker" else processes.BY_NAME["sweeper"].command
        return self.here.start(name, command, **self.environ)


def main(here: World) -> None:
    options = parse()
    machine = figures.machine()
    _process, address = here.start_server("receiver", "bench.receiver:application")
    host_port = address.removeprefix("http://")
    environ = SHORTENED | {"OUTBOUND_ALLOWED_HOSTS": host_port, "LOG_LEVEL": "ERROR"}
    settings.OUTBOUND_ALLOWED_HOSTS = [host_port]
    tenants = [services.create_tenant(slug=f"bench-{number}") for number in range(TENANTS)]
    secrets = [services.create_endpoint(tenant=tenant, url=f"{address}/hooks")[1] for tenant in tenants]
    begin = time.monotonic()
    sender = Sender(here, environ)
    emitting = threading.Thread(target=emit, args=(tenants, options.events))
    emitting.start()
    kill_in_between(sender, options)
    emitting.join()
    drain(sender, options.events)
    report(machine, options, received(address), secrets, time.monotonic() - begin)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="script/bench webhooks", description=__doc__)
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=20)
    return parser.parse_args()


def emit(tenants: list[Tenant], events: int) -> None:
    """Emit as fast as it goes, in transactions of fifty events."""
    for first in range(0, events, BATCH):
        with transaction.atomic():
            for number in range(first, min(first + BATCH, events)):
                services.emit(
                    tenant=tenants[number % TENANTS],
                    type="query.answered",
                    key=str(number),
                    payload={"question": f"سؤال {number}", "answer": "پاسخ " * 40},
                )
    connection.close()


def kill_in_between(sender: Sender, options: argparse.Namespace) -> None:
    """Kill at random moments, spread over the deliveries; every fourth time the sweeper dies too."""
    dice = random.Random(SEED)
    for number in range(1, options.kills + 1):
        wanted = options.events * number / (options.kills + 2)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while delivered() < wanted and time.monotonic() < deadline:
            sender.revive()
            time.sleep(0.1)
        time.sleep(dice.uniform(0, 0.3))
        sender.kill("worker")
        if number % 4 == 0:
            sender.kill("sweeper")


def delivered() -> int:
    return WebhookDelivery.objects.filter(state=State.DONE).count()


def drain(sender: Sender, events: int) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        is_open = WebhookDelivery.objects.filter(state__in=OPEN_STATES).exists()
        if not is_open and WebhookEvent.objects.count() == events:
            return
        sender.revive()
        time.sleep(0.2)


def received(address: str) -> dict:
    with urllib.request.urlopen(address, timeout=30) as response:  # noqa: S310 -- loopback
        return json.load(response)


def report(machine: str, options: argparse.Namespace, seen: dict, secrets: list[str], seconds: float) -> None:
    told = {str(pk) for pk in WebhookEvent.objects.values_list("pk", flat=True)}
    accepted = seen["accepted"]
    ended = WebhookDelivery.objects.filter(state=State.FAILED).count()
    result = {
        "events": len(told),
        "lost": len(told - set(accepted)),
        "given_up": ended,
        "unknown_ids": len(set(accepted) - told),
        "accepted_twice": sum(count > 1 for count in accepted.values()),
        "requests": sum(accepted.values()) + seen["refused"],
        "refused": seen["refused"],
        "attempts_logged": WebhookAttempt.objects.count(),
        "bad_signatures": sum(not is_signed(request, secrets) for request in seen["last"]),
        "kills": options.kills,
        "seconds": round(seconds),
    }
    print(f"\n{machine}\n")
    print(figures.table(("figure", "value"), result.items()))
    print(figures.last_line("webhooks", **result))


def is_signed(request: dict, secrets: list[str]) -> bool:
    """Tell whether the receiver's own library accepts the request with one of the tenants' secrets."""
    for secret in secrets:
        with suppress(Exception):
            Webhook(secret).verify(request["body"], request["headers"])
            return True
    return False
