"""``Idempotency-Key`` on POSTs of the API: the second sending gets the first one's answer (docs/http-conventions.md).

The unique constraint decides who serves a key. The answer is stored before it is sent, so a client that lost the
connection and asks again finds it.
"""

import hashlib
import json
import re
from datetime import timedelta
from typing import Any

from asgiref.sync import iscoroutinefunction, sync_to_async
from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils import timezone
from django.utils.decorators import sync_and_async_middleware
from rest_framework.response import Response

from core.database import release_connection
from core.errors import API_PREFIX, problem_json
from tenants.authentication import HEADER as KEY_HEADER
from tenants.models import APIKey, IdempotentRequest

HEADER = "Idempotency-Key"
REPLAYED = "Idempotent-Replayed"
NOT_STORED = "field_never_stored"
FORM = re.compile(r"[\x21-\x7e]{1,255}")
KEPT_HEADERS = ("Content-Type", "Location", "Preference-Applied", "Link")
SERVER_ERROR = 500
# Answers that say "not now" or "not you": sending again must be able to end differently.
NOT_KEPT = frozenset({401, 403, 408, 409, 429})


@sync_and_async_middleware
def idempotency_middleware(get_response: Any) -> Any:
    """Serve a POST that carries the header at most once."""

    async def serve_async(request: HttpRequest) -> HttpResponseBase:
        if not _applies(request):
            return await get_response(request)
        begun = await sync_to_async(begin)(request)
        if not isinstance(begun, IdempotentRequest):
            return begun or await get_response(request)
        response = None
        try:
            response = await get_response(request)
            return response
        finally:
            await sync_to_async(finish)(begun, response)

    def serve(request: HttpRequest) -> HttpResponseBase:
        if not _applies(request):
            return get_response(request)
        begun = begin(request)
        if not isinstance(begun, IdempotentRequest):
            return begun or get_response(request)
        response = None
        try:
            response = get_response(request)
            return response
        finally:
            finish(begun, response)

    return serve_async if iscoroutinefunction(get_response) else serve


def begin(request: HttpRequest) -> IdempotentRequest | HttpResponse | None:
    """Return the row to serve this request under, or the answer it has already; None without a valid API key."""
    name = request.headers[HEADER]
    if not FORM.fullmatch(name):
        return problem_json(400, "idempotency_key_invalid", f"{HEADER} must be 1 to 255 visible ASCII characters.")
    if "text/event-stream" in request.headers.get("Accept", ""):
        return problem_json(400, "idempotency_key_on_stream", f"A stream cannot be replayed: leave {HEADER} out.")
    api_key = APIKey.objects.find(request.headers.get(KEY_HEADER, ""))
    if api_key is None:
        return None  # the view refuses it
    try:
        wanted = fingerprint(request)
    except RequestDataTooBig:
        return problem_json(413, "body_too_large", "The body is too large.")
    return _taken(api_key, name, wanted)


def fingerprint(request: HttpRequest) -> str:
    """Return what must be the same for two requests to be one."""
    parts = [(request.method or "").encode(), request.get_full_path().encode(), request.body]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def _taken(api_key: APIKey, name: str, wanted: str) -> IdempotentRequest | HttpResponse:
    now = timezone.now()
    locked_until = now + _lease()
    row, is_first = IdempotentRequest.objects.get_or_create(
        tenant=api_key.tenant,
        key=name,
        defaults={"fingerprint": wanted, "created_at": now, "locked_until": locked_until},
    )
    if is_first:
        return row
    rows = IdempotentRequest.objects.filter(pk=row.pk)
    expired = Q(created_at__lt=now - timedelta(hours=settings.IDEMPOTENCY_KEEP_HOURS))
    died = Q(status=None, locked_until__lt=now, fingerprint=wanted)
    if rows.filter(expired | died).update(
        fingerprint=wanted, status=None, locked_until=locked_until, created_at=now, headers={}, body=""
    ):
        return rows.get()
    if row.fingerprint != wanted:
        return problem_json(
            422, "idempotency_key_reused", f"This {HEADER} belongs to another request; use a new one for this body."
        )
    if row.status is None:
        problem = problem_json(409, "idempotency_key_in_flight", f"The first request with this {HEADER} is not over.")
        problem["Retry-After"] = "1"
        return problem
    return _replay(row)


def keep_without(response: Response, field: str) -> Response:
    """Have the answer stored with null in the place of this secret, so that a replay creates nothing and shows none."""
    setattr(response, NOT_STORED, field)
    return response


def finish(row: IdempotentRequest, response: HttpResponseBase | None) -> None:
    """Keep the answer, or forget the key where the client should be able to try again."""
    mine = IdempotentRequest.objects.filter(pk=row.pk, locked_until=row.locked_until)
    if isinstance(response, HttpResponse) and _is_final(response):
        mine.update(
            status=response.status_code,
            headers={name: response[name] for name in KEPT_HEADERS if name in response},
            body=_storable_body(response),
        )
    else:
        mine.delete()
    release_connection()


def _applies(request: HttpRequest) -> bool:
    return request.method == "POST" and HEADER in request.headers and request.path.startswith(API_PREFIX)


def _storable_body(response: HttpResponse) -> str:
    body = response.content.decode()
    secret = getattr(response, NOT_STORED, None)
    return json.dumps(json.loads(body) | {secret: None}, ensure_ascii=False) if secret else body


def _is_final(response: HttpResponse) -> bool:
    return not response.streaming and response.status_code < SERVER_ERROR and response.status_code not in NOT_KEPT


def _replay(row: IdempotentRequest) -> HttpResponse:
    response = HttpResponse(row.body, status=row.status)
    for name, value in row.headers.items():
        response[name] = value
    response[REPLAYED] = "true"
    return response


def _lease() -> timedelta:
    return timedelta(seconds=settings.IDEMPOTENCY_LEASE_SECONDS)


def forget_old(*, limit: int = 5000) -> int:
    """Delete at most ``limit`` requests that are past their day; return how many."""
    before = timezone.now() - timedelta(hours=settings.IDEMPOTENCY_KEEP_HOURS)
    old = IdempotentRequest.objects.filter(created_at__lt=before).values("pk")[:limit]
    return IdempotentRequest.objects.filter(pk__in=old).delete()[0]
