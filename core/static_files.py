"""Static files at the ASGI edge: before Django, straight from the apps' folders, with caching headers.

WhiteNoise's middleware is made for WSGI and would read whole files on the event loop; its file index and its
responses (ETag, ranges, 304) are used here directly.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, BinaryIO

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.staticfiles.finders import get_finders
from whitenoise import WhiteNoise
from whitenoise.responders import Response, StaticFile

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

BLOCK_BYTES = 256 * 1024


class StaticFiles:
    """An ASGI application in front of another that answers ``STATIC_URL`` itself."""

    def __init__(self, application: Application) -> None:
        self.application = application
        self.files = find_files()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        static_file = self.files.get(scope["path"]) if scope["type"] == "http" else None
        if static_file is None:
            await self.application(scope, receive, send)
        else:
            await _answer(static_file, scope, send)


def find_files() -> dict[str, StaticFile]:
    """Return every static file of the installed apps by its URL path; the first app that has one wins."""
    index = WhiteNoise(None)
    for finder in get_finders():
        for path, storage in finder.list(None):
            url = f"{settings.STATIC_URL}{path}"
            if url not in index.files:
                index.add_file_to_dictionary(url, storage.path(path))
    return index.files


async def _answer(static_file: StaticFile, scope: Scope, send: Send) -> None:
    wanted = {f"HTTP_{k.decode('latin-1').upper().replace('-', '_')}": v.decode("latin-1") for k, v in scope["headers"]}
    response: Response = await sync_to_async(static_file.get_response, thread_sensitive=False)(scope["method"], wanted)
    headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in _headers(response)]
    await send({"type": "http.response.start", "status": int(response.status), "headers": headers})
    if response.file is not None:
        await _send_blocks(response.file, send)
    await send({"type": "http.response.body", "body": b""})


async def _send_blocks(file: BinaryIO, send: Send) -> None:
    read = sync_to_async(file.read, thread_sensitive=False)
    try:
        while block := await read(BLOCK_BYTES):
            await send({"type": "http.response.body", "body": block, "more_body": True})
    finally:
        file.close()


def _headers(response: Response) -> Iterable[tuple[str, str]]:
    yield from response.headers
    yield "X-Content-Type-Options", "nosniff"
