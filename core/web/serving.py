"""One serving process: ``python -m core.web.serving SOCKET READY LIFELINE``, three inherited file descriptors."""

import asyncio
import os
import signal
import socket
import sys
import threading
import time

from uvicorn import Config, Server

# Above CHAT_WAIT_SECONDS: a process that is replaced ends the answers it has begun. Streams go on elsewhere after that.
DRAIN_SECONDS = 65
FIRST_REQUEST_SECONDS = 1.0  # uvicorn would close a connection whose request is still on its way


class Announcing(Server):
    """Says on a pipe when it accepts connections."""

    def __init__(self, config: Config, ready: int) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            os.write(self._ready, b"1")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no new connection, hear out those that have not said anything yet, then end as uvicorn does."""
        for server in self.servers:
            server.close()
        until = time.monotonic() + FIRST_REQUEST_SECONDS
        while time.monotonic() < until and any(
            getattr(connection, "cycle", True) is None for connection in self.server_state.connections
        ):
            await asyncio.sleep(0.02)
        await super().shutdown(sockets)


def stop_with_the_parent(lifeline: int) -> None:
    """Ask this process to stop once the other end of the pipe is closed."""
    os.read(lifeline, 1)
    os.kill(os.getpid(), signal.SIGTERM)


def main(listening: int, ready: int, lifeline: int) -> None:
    threading.Thread(target=stop_with_the_parent, args=[lifeline], name="lifeline", daemon=True).start()
    config = Config("core.asgi:application", timeout_graceful_shutdown=DRAIN_SECONDS)
    Announcing(config, ready).run(sockets=[socket.socket(fileno=listening)])


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
