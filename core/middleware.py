"""Django's own middleware, without its detours: each hook of it hops to a thread and back, 0.1 ms of CPU.

What only computes runs where it is. What pages need and the API does not (sessions, forms, messages) lets API requests
pass; those carry a key, and no cookie means anything to them.
"""

from typing import Any

from asgiref.sync import sync_to_async
from django.contrib.auth import middleware as auth
from django.contrib.messages import middleware as messages
from django.contrib.sessions import middleware as sessions
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.middleware import clickjacking, common, csrf, locale, security

from core.errors import API_PREFIX


class OnLoop:
    """Runs the hooks of a middleware that neither reads nor waits right on the event loop."""

    async def __acall__(self: Any, request: HttpRequest) -> HttpResponseBase:
        response = self.process_request(request) if hasattr(self, "process_request") else None
        response = response or await self.get_response(request)
        return self.process_response(request, response)


class ForPages:
    """Skips requests of the API."""

    def __call__(self: Any, request: HttpRequest) -> Any:
        if request.path_info.startswith(API_PREFIX):
            return self.get_response(request)
        return super().__call__(request)  # type: ignore[misc]


class SecurityMiddleware(OnLoop, security.SecurityMiddleware): ...


class LocaleMiddleware(OnLoop, locale.LocaleMiddleware): ...


class CommonMiddleware(OnLoop, common.CommonMiddleware): ...


class XFrameOptionsMiddleware(OnLoop, clickjacking.XFrameOptionsMiddleware): ...


class SessionMiddleware(ForPages, sessions.SessionMiddleware): ...


class AuthenticationMiddleware(ForPages, auth.AuthenticationMiddleware): ...


class MessageMiddleware(ForPages, messages.MessageMiddleware): ...


class CsrfViewMiddleware(ForPages, csrf.CsrfViewMiddleware):
    """Django calls `process_view` by itself, whatever `__call__` does."""

    def __init__(self, get_response: Any) -> None:
        super().__init__(get_response)
        self._in_thread = sync_to_async(self.process_view)
        if self.async_mode:
            self.process_view = self._process_view_async  # type: ignore[assignment]

    async def _process_view_async(self, request: HttpRequest, *arguments: Any) -> Any:
        return None if request.path_info.startswith(API_PREFIX) else await self._in_thread(request, *arguments)
