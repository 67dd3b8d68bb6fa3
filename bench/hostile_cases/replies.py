"""How the cases' servers answer: whole answers, endless ones, answers that change."""

import asyncio
import ssl
import subprocess
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

MEGABYTE = 2**20
ANY = {"*"}  # whatever is said of the page, it ends and the crawl goes on
READ = {""}
TEXT = "The lamp number {0} is told of in this paragraph, which is long enough to be found again and quoted. " * 2


@dataclass
class Asked:
    """One request: ``count`` is how often the path was asked for, this time included."""

    writer: asyncio.StreamWriter
    target: str
    path: str
    count: int
    host: str

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()


Reply = bytes | Callable[[Asked], Awaitable[None]]


@dataclass
class Case:
    """``expected`` maps paths to the reasons that are right for them; ``run`` is how the crawl ends.

    ``check`` names what is looked at besides (`bench.hostile`); ``tls`` and ``raw`` make the root an https address.
    """

    id: str
    name: str
    routes: dict[str, Reply] = field(default_factory=dict)
    expected: dict[str, set[str]] = field(default_factory=dict)
    run: str = "done"
    check: str = ""
    links: tuple[str, ...] = ()
    crawls: int = 1
    max_pages: int = 80
    tls: Callable[[Path], ssl.SSLContext] | None = None
    raw: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]] | None = None
    address: str = ""


def page(
    body: str | bytes,
    *,
    status: str = "200 OK",
    type: str | None = "text/html; charset=utf-8",  # noqa: A002
    headers: str = "",
) -> bytes:
    data = body if isinstance(body, bytes) else body.encode()
    kind = f"Content-Type: {type}\r\n" if type else ""
    return f"HTTP/1.1 {status}\r\n{kind}{headers}Content-Length: {len(data)}\r\n\r\n".encode("latin-1") + data


def home(case: Case) -> bytes:
    links = "".join(f'<a href="{link}">{number}</a> ' for number, link in enumerate([*case.expected, *case.links]))
    return page(f'<h1>{case.name}</h1><p>{TEXT.format(case.id)}</p>{links}<a href="/good">good</a>')


def text(number: object = 0, extra: str = "") -> str:
    return f"<title>Lamp {number}</title><main><h1>Lamp {number}</h1><p>{TEXT.format(number)}</p>{extra}</main>"


def redirect(goal: str, status: str = "302 Found") -> bytes:
    return page("", status=status, headers=f"Location: {goal}\r\n")


def repeat(head: bytes, chunk: bytes, times: int, pause: float = 0.0) -> Reply:
    """Say the head, then the chunk again and again."""

    async def say(asked: Asked) -> None:
        await asked.say(head)
        for _time in range(times):
            await asked.say(chunk)
            if pause:
                await asyncio.sleep(pause)

    return say


def alternating(*replies: bytes) -> Reply:
    async def say(asked: Asked) -> None:
        await asked.say(replies[(asked.count - 1) % len(replies)])

    return say


def first(then: bytes, *before: bytes) -> Reply:
    """Answer with each of ``before`` once, from then on with ``then``."""

    async def say(asked: Asked) -> None:
        await asked.say(before[asked.count - 1] if asked.count <= len(before) else then)

    return say


def made(make: Callable[[Asked], str | bytes]) -> Reply:
    """Answer with what is made of the request: a page's text, or a whole answer."""

    async def say(asked: Asked) -> None:
        result = make(asked)
        await asked.say(result if isinstance(result, bytes) else page(result))

    return say


async def silence(_asked: Asked) -> None:
    await asyncio.sleep(3600)


async def hang_up(asked: Asked) -> None:
    asked.writer.transport.abort()


async def never_shake_hands(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(3600)
    writer.close()


async def speak_plainly(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(page("<p>Plain HTTP where TLS is meant.</p>"))
    await writer.drain()
    writer.close()


def certificate(days: int, name: str = "127.0.0.1", *, old: bool = False) -> Callable[[Path], ssl.SSLContext]:
    """Return what makes a server's context with a certificate that nobody trusts."""

    def context(folder: Path) -> ssl.SSLContext:
        files = [str(folder / f"{name}{days}.{part}") for part in ("key", "crt")]
        subprocess.run(
            [
                *["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-batch"],
                "-keyout",
                files[0],
                "-out",
                files[1],
                "-days",
                str(days),
                "-subj",
                f"/CN={name}",
            ],
            check=True,
            capture_output=True,
        )
        made_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made_context.load_cert_chain(files[1], files[0])
        if old:
            made_context.set_ciphers("ALL:@SECLEVEL=0")
            made_context.minimum_version = made_context.maximum_version = ssl.TLSVersion.TLSv1
        return made_context

    return context


def head(*lines: str, status: str = "200 OK") -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode("latin-1")


def encoded(encoding: str, body: bytes) -> bytes:
    return page(body, headers=f"Content-Encoding: {encoding}\r\n")
