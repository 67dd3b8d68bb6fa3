"""An installation under load: the services that ship, a stub model, a tenant with something to find, and its keys."""

import time
from dataclasses import dataclass

from bench import costs, embedding_cost, figures, load, material, model_server
from bench.load_generator import Order, Sample
from bench.world import PYTHON, World, answers
from core.embedded import ports
from knowledge.models import Chunk

SERVICES = ("web", "celery_ai", "celery_worker", "sweeper")
VECTORS_SECONDS = 120
WARM_QUESTIONS, WARM_PER_SECOND = 24, 4.0
ANSWER_TIMEOUT_SECONDS = 45.0
SLOW_TIMEOUT_SECONDS = 150.0
WAITING_MAX = 200  # what ships, and one tenant asks for all
OVERHEAD_P95_MAX_MS = 250.0
START_SECONDS = 2.0


@dataclass
class Asked:
    """What one run of questions showed: what the users saw, and what it cost."""

    per_second: float
    seconds: float
    samples: list[Sample]
    costs: costs.Costs
    embedding_seconds: float = 0.0  # of the CPU, for all of them

    @property
    def answered(self) -> list[Sample]:
        return [sample for sample in self.samples if sample.is_answered]

    @property
    def refused(self) -> list[Sample]:
        return [sample for sample in self.samples if sample.is_refused]

    @property
    def errors(self) -> list[Sample]:
        return [sample for sample in self.samples if not sample.is_answered and not sample.is_refused]

    @property
    def overheads_ms(self) -> list[float]:
        return overheads_ms(self.samples)


def overheads_ms(samples: list[Sample]) -> list[float]:
    """Return the times to the first word beyond what the model itself takes."""
    models_own = 1000 * model_server.FIRST_CHUNK_SECONDS
    return [sample.first_ms - models_own for sample in samples if sample.is_answered and sample.first_ms is not None]


class BusyWorld:
    """Starts everything once; each `ask` is one run of questions against it."""

    def __init__(self, here: World, *, slow_seconds: int = 60, **environ: str) -> None:
        self.here = here
        _tenant, key = material.make_tenant()
        self._keys = [key]
        self._asked = 0
        model = self._start_model(slow_seconds)
        port = ports.find_free()
        self.address = f"http://127.0.0.1:{port}"
        here.start_services(
            *SERVICES, UVICORN_PORT=str(port), LLM_BASE_URL=f"{model}/v1", LLM_MODEL=model_server.MODEL,
            DJANGO_SETTINGS_MODULE="bench.counting", API_RATE_PER_KEY="1000000/minute", LIMIT_END_USER_DAILY="0",
            CHAT_WAITING_MAX=str(WAITING_MAX), CHAT_WAITING_MAX_PER_TENANT=str(WAITING_MAX), **environ,
        )  # fmt: skip
        bare = Chunk.objects.filter(embedding=None)
        here.wait_for(lambda: not bare.exists(), "the pages got no vectors", seconds=VECTORS_SECONDS)
        self.ask(WARM_QUESTIONS, WARM_PER_SECOND)  # every worker has its model loaded, connections are open

    def _start_model(self, slow_seconds: int) -> str:
        port = ports.find_free()
        process = self.here.start("model", [PYTHON, "-m", "bench.model_server", str(port), str(slow_seconds)])
        address = f"http://127.0.0.1:{port}"
        self.here.wait_for(lambda: answers(address), "the model does not answer", process=process, log="model")
        return address

    def ask(self, count: int, per_second: float, *, slowly: bool = False) -> Asked:
        """Ask ``count`` questions at a fixed rate and wait for the end of every answer."""
        order = self._order(count, per_second, slowly=slowly)
        begin, embedded = time.monotonic(), embedding_cost.spent_seconds()
        with costs.Costs(self.here) as spent:
            samples = load.run(self.here, order)
        embedding_seconds = embedding_cost.spent_seconds() - embedded
        return Asked(per_second, time.monotonic() - begin, samples, spent, embedding_seconds)

    def ask_in_phases(self, phases: list[tuple[float, float]]) -> list[Asked]:
        """Ask at one rate after the other, ``(per second, seconds)``, without waiting for answers in between."""
        begin, started = time.time() + START_SECONDS, []
        began = time.monotonic()
        with costs.Costs(self.here) as spent:
            for number, (per_second, seconds) in enumerate(phases):
                order = self._order(round(per_second * seconds), per_second, begin_at=begin)
                started.append((order, load.start(self.here, order, f"load{number}"), f"load{number}"))
                begin += seconds
            collected = [(order, load.collect(self.here, process, order, name)) for order, process, name in started]
        seconds = time.monotonic() - began  # what it cost is known for all phases together
        return [Asked(order.per_second, seconds, samples, spent) for order, samples in collected]

    def _order(self, count: int, per_second: float, *, slowly: bool = False, begin_at: float = 0.0) -> Order:
        first, self._asked = self._asked, self._asked + count
        return Order(
            address=self.address,
            keys=self._keys,
            count=count,
            per_second=per_second,
            timeout_seconds=SLOW_TIMEOUT_SECONDS if slowly else ANSWER_TIMEOUT_SECONDS,
            begin_at=begin_at,
            first=first,
            suffix=f" {model_server.SLOWLY}" if slowly else "",
        )


def complaints(asked: Asked, most: int = 3) -> str:
    """Return how the first questions that went wrong ended."""
    return "\n".join(f"  no answer: {sample.status} {sample.failure[:300]}" for sample in asked.errors[:most])


def row(asked: Asked) -> list[object]:
    """Return a line of `HEADER`."""
    overhead = figures.spread(asked.overheads_ms)
    late = figures.spread([sample.late_ms for sample in asked.samples])
    shares = ", ".join(f"{name} {share:.2f}" for name, share in list(asked.costs.shares(asked.seconds).items())[:4])
    return [f"{asked.per_second:g}", len(asked.samples), len(asked.errors), len(asked.refused), overhead["p50"],
            overhead["p95"], overhead["p99"], late["p99"], shares]  # fmt: skip


HEADER = ("questions per second", "asked", "errors", "refused", "first word after the model's, p50 ms", "p95 ms",
          "p99 ms", "generator late, p99 ms", "cores taken")  # fmt: skip
