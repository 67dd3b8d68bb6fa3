"""Start the load generator and read what it saw."""

import json
import subprocess
import time
from dataclasses import asdict

from bench.load_generator import Order, Sample
from bench.world import PYTHON, World

GRACE_SECONDS = 30


def run(here: World, order: Order, name: str = "load") -> list[Sample]:
    """Run the generator as a process of its own and return what it saw.

    Raises:
        RuntimeError: if it failed.
    """
    process = start(here, order, name)
    return collect(here, process, order, name)


def start(here: World, order: Order, name: str) -> subprocess.Popen[bytes]:
    request = here.folder / f"{name}.order"
    request.write_text(json.dumps(asdict(order)))
    output = here.folder / f"{name}.samples"
    command = [PYTHON, "-m", "bench.load_generator", str(request), str(output)]
    return here.start(name, command)


def collect(here: World, process: subprocess.Popen[bytes], order: Order, name: str) -> list[Sample]:
    delay = max(0.0, order.begin_at - time.time())
    process.wait(delay + order.count / order.per_second + order.timeout_seconds + GRACE_SECONDS)
    if process.returncode:
        raise RuntimeError(f"the load generator failed\n{here.log(name).read_text(errors='replace')[-3000:]}")
    lines = (here.folder / f"{name}.samples").read_text().splitlines()
    return [Sample(**json.loads(line)) for line in lines]
