"""Keeps crawl tasks waiting: a process that starts crawls whenever fewer wait in the queue than asked for.

``python -m bench.backlog_process PORT QUEUE`` runs it; the benchmark sets the level in Redis. Each website is a host
of its own on the benchmark's site server, and each tenant has two, so the product's own limits stay as they are.
"""

import time

from bench import site
from core.redis import client
from crawl import services
from crawl.models import Website
from tenants.models import Tenant
from tenants.services import create_tenant

LEVEL = "bench:level"
LOOK_EVERY_SECONDS = 0.1
SITES_PER_TENANT = 2


def keep(port: int, queue: str) -> None:
    """Top the queue up until this process is stopped."""
    started = Website.objects.count()
    while True:
        missing = int(client().get(LEVEL) or 0) - client().llen(queue)
        for _ in range(missing):
            start(started, port)
            started += 1
        time.sleep(LOOK_EVERY_SECONDS)


def start(number: int, port: int) -> None:
    website = services.add_website(tenant=_tenant(number), url=f"http://{site.address(number, port)}/")
    services.start_crawl(website=website)


def _tenant(number: int) -> Tenant:
    slug = f"crawled-{number // SITES_PER_TENANT}"
    return Tenant.objects.filter(slug=slug).first() or create_tenant(slug=slug)
