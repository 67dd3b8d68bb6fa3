"""The web service as a process of its own."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2

from core.embedded.ports import find_free
from tests.workers import BASE_DIR, environment, wait_until


@contextmanager
def running_web() -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """Start the service, wait until it is well or has ended, give its URL and process, and end it."""
    port = find_free()
    process = subprocess.Popen(
        [sys.executable, "-m", "core.web"], cwd=BASE_DIR, env=environment({"UVICORN_PORT": str(port)})
    )
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: process.poll() is not None or is_well(url), 60)
        yield url, process
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(30)


def is_well(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/healthz", timeout=5).status_code == 200
    except httpx2.HTTPError:
        return False
