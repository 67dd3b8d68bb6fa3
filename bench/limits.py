"""Parallel requests against limits, over HTTP: ``script/bench limits [--requests 1000] [--limit 60]``.

Twice: questions of one end user against its daily limit (Postgres), and calls of one key against its rate (Redis).
Exactly as many as the limit says may pass, and every other one is told 429 with ``Retry-After``. ``--parallel`` is how
many are in flight at a time; each holds a session of Postgres for a moment, and that has a few hundred.
"""

import argparse
import asyncio
import time
from collections import Counter

import httpx2

from bench import figures
from bench.world import World, answers
from core import processes
from core.embedded import ports
from tenants import services
from tenants.models import Tenant, UsageEntry


def main(here: World) -> None:
    options = parse()
    machine = figures.machine()
    tenant = services.create_tenant(slug="bench")
    Tenant.objects.filter(pk=tenant.pk).update(end_user_daily_limit=options.limit)
    _key, text = services.create_api_key(tenant=tenant, name="bench")
    daily = run(here, options, text, f"{options.requests * 10}/minute")
    reserved = UsageEntry.objects.count()
    Tenant.objects.filter(pk=tenant.pk).update(end_user_daily_limit=None)
    _key, text = services.create_api_key(tenant=tenant, name="bench")
    rate = run(here, options, text, f"{options.limit}/minute")
    print(f"\n{machine}\n")
    rows = [(name, options.limit, *row) for name, row in (("daily limit", daily), ("rate of the key", rate))]
    print(figures.table(("limit", "of", "passed", "refused (429)", "other", "without Retry-After", "seconds"), rows))
    print(
        figures.last_line(
            "limits",
            requests=options.requests,
            limit=options.limit,
            daily_passed=daily[0],
            daily_rows=reserved,
            daily_refused=daily[1],
            rate_passed=rate[0],
            rate_refused=rate[1],
            other=daily[2] + rate[2],
        )
    )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="script/bench limits", description=__doc__)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--limit", type=int, default=60)
    parser.add_argument("--parallel", type=int, default=150)
    return parser.parse_args()


def run(here: World, options: argparse.Namespace, key: str, rate: str) -> tuple[int, int, int, int, float]:
    """Return how many passed, were refused, ended otherwise, and were refused without a word on when to come back."""
    port = ports.find_free()
    web = here.start("web", processes.BY_NAME["web"].command, UVICORN_PORT=str(port), API_RATE_PER_KEY=rate)
    address = f"http://127.0.0.1:{port}"
    here.wait_for(lambda: answers(address), "web does not answer", process=web, log="web")
    begin = time.monotonic()
    responses = asyncio.run(flood(f"{address}/api/v1/query/", options, key))
    seconds = round(time.monotonic() - begin, 1)
    statuses = Counter(status for status, _is_told in responses)
    untold = sum(status == 429 and not is_told for status, is_told in responses)
    other = len(responses) - statuses[202] - statuses[429]
    if other:
        print(f"statuses: {dict(statuses)}\n{here.log('web').read_text(errors='replace')[-2000:]}")
    return statuses[202], statuses[429], other, untold, seconds


async def flood(url: str, options: argparse.Namespace, key: str) -> list[tuple[int, bool]]:
    """Send the requests and return the status of each, and whether it names a time to come back."""
    headers = {"X-API-Key": key, "Prefer": "respond-async"}
    limits = httpx2.Limits(max_connections=options.parallel)
    async with httpx2.AsyncClient(headers=headers, limits=limits, timeout=300, trust_env=False) as client:
        go = asyncio.Event()

        async def ask(number: int) -> tuple[int, bool]:
            await go.wait()
            response = await client.post(url, json={"question": f"Question {number}?", "user_id": "one"})
            return response.status_code, "retry-after" in response.headers

        tasks = [asyncio.create_task(ask(number)) for number in range(options.requests)]
        await asyncio.sleep(0)
        go.set()
        return await asyncio.gather(*tasks)
