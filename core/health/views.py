"""Health over HTTP: ``/healthz`` says that the process answers, ``/readyz`` that it can serve."""

import asyncio

from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache

from core.health import readiness


@never_cache
async def healthz(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"status": "ok"})


@never_cache
async def readyz(request: HttpRequest) -> JsonResponse:
    """Answer 200 if Postgres, pgvector, the migrations and Redis are in order, else 503 naming what is not.

    The model is left out on purpose: without it, pages are still searched by text.
    """
    names, checks = zip(*readiness.CHECKS.items(), strict=True)
    problems = dict(zip(names, await asyncio.gather(*(readiness.find_problem(check) for check in checks)), strict=True))
    is_ready = not any(problems.values())
    body = {"status": "ok" if is_ready else "unavailable", "checks": {k: v or "ok" for k, v in problems.items()}}
    return JsonResponse(body, status=200 if is_ready else 503)
