"""What a browser may load on our pages: nothing from other hosts, and no script or style inside the HTML."""

from typing import Any

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.decorators import sync_and_async_middleware

HEADER = "Content-Security-Policy"
STRICT = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "font-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    ]
)
# Django's admin and Swagger UI carry scripts and styles of their own inside the page.
THIRD_PARTY = STRICT.replace("script-src 'self'", "script-src 'self' 'unsafe-inline'").replace(
    "style-src 'self'", "style-src 'self' 'unsafe-inline'"
)
THIRD_PARTY_PREFIXES = ("/admin/", "/api/")


@sync_and_async_middleware
def content_security_policy_middleware(get_response: Any) -> Any:
    """Put the policy on every HTML page that has none of its own."""

    async def serve_async(request: HttpRequest) -> HttpResponseBase:
        return _with_policy(request, await get_response(request))

    def serve(request: HttpRequest) -> HttpResponseBase:
        return _with_policy(request, get_response(request))

    return serve_async if iscoroutinefunction(get_response) else serve


def _with_policy(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    if response.headers.get("Content-Type", "").startswith("text/html"):
        policy = THIRD_PARTY if request.path.startswith(THIRD_PARTY_PREFIXES) else STRICT
        response.headers.setdefault(HEADER, policy)
    return response
