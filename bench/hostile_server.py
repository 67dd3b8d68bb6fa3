"""The servers of `bench.hostile_cases`, each at a loopback address of its own: ``python -m bench.hostile_server PORT``.

HTTP is written by hand here, as no library would say such things. ``/__seen`` tells what a server was asked.
"""

import asyncio
import json
import ssl
import sys
from collections import Counter, defaultdict
from contextlib import suppress
from pathlib import Path

from bench.hostile_cases import CASES, Asked, Case, home, page

HEAD_MAX_BYTES = 65536
TLS_PORT_AFTER = 1  # a case's TLS server listens on the next port


class Servers:
    """All cases, by the address they listen on."""

    def __init__(self) -> None:
        self.seen: dict[str, list[dict[str, str]]] = defaultdict(list)
        self.counts: Counter[tuple[str, str]] = Counter()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ssl.SSLError):
            await self._answer(reader, writer)
        writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        address = writer.get_extra_info("sockname")[0]
        case = BY_ADDRESS[address]
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        target = head.split(" ", 2)[1]
        if target == "/__seen":
            body = json.dumps(self.seen[address]).encode()
            writer.write(page(body, type="application/json"))
            await writer.drain()
            return
        path = target.partition("?")[0]
        self.seen[address].append({"target": target, "head": head})
        self.counts[address, path] += 1
        host = f"{address}:{writer.get_extra_info('sockname')[1]}"
        asked = Asked(writer, target, path, self.counts[address, path], host)
        reply = case.routes.get(path) or _usual(case, path) or case.routes.get("*") or MISSING
        if isinstance(reply, bytes):
            writer.write(reply)
            await writer.drain()
        else:
            await reply(asked)


def _usual(case: Case, path: str) -> bytes | None:
    if path == "/":
        return home(case)
    if path == "/good":
        return page(f"<h1>Good</h1><p>The good page of {case.name}, as any other page of any other site is.</p>")
    return MISSING if path in {"/robots.txt", "/sitemap.xml"} else None


MISSING = page("<h1>Not found</h1>", status="404 Not Found")

BY_ADDRESS = {case.address: case for case in CASES}


async def main(port: int, folder: Path) -> None:
    servers = Servers()
    running = []
    for case in CASES:
        if case.raw is not None:
            running.append(await asyncio.start_server(case.raw, case.address, port + TLS_PORT_AFTER))
        if case.tls is not None:
            context = case.tls(folder)
            running.append(await asyncio.start_server(servers.serve, case.address, port + TLS_PORT_AFTER, ssl=context))
        running.append(await asyncio.start_server(servers.serve, case.address, port, limit=HEAD_MAX_BYTES))
    print("ready", flush=True)
    await asyncio.gather(*(server.serve_forever() for server in running))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2])))
