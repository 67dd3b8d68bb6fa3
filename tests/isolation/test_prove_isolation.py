"""`manage.py prove_isolation` on real services: that it asks, floods, measures and cleans up, not how long it took."""

import json
from io import StringIO

import pytest
from django.core.management import call_command

from chat.models import Message
from core import consumers, queues, waits
from knowledge.models import Document
from tasks_api import heartbeats
from tasks_api.models import IsolationProof, TaskRun
from tenants.models import Tenant

pytestmark = pytest.mark.slow
ANY_WAIT = ["--max-wait-ms", "60000", "--max-ratio", "10000"]  # a machine that tests is no place to judge


def is_ready():
    alive = [consumers.Consumer(worker.name, frozenset(worker.queues)) for worker in heartbeats.workers()]
    return not consumers.find_problem(alive) and queues.LOW_PRIORITY in {name for each in alive for name in each.queues}


def test_the_proof_asks_under_real_load_keeps_what_it_measured_and_leaves_nothing_behind(installation):
    installation.ensure("celery_ai", "celery_worker", "sweeper")
    installation.wait_for(is_ready, "the workers do not report")
    out = StringIO()

    call_command("prove_isolation", "--questions", "6", "--backlog", "30", "--json", *ANY_WAIT, stdout=out)

    result = json.loads(out.getvalue())
    proof = IsolationProof.objects.get()
    assert (proof.is_kept, proof.measured["loaded"]) == (True, result["loaded"])
    for load in ("idle", "loaded"):
        assert (result[load]["asked"], result[load]["answered"]) == (6, 6)
        assert 0 < result[load]["wait_ms"]["p50"] <= result[load]["first_token_ms"]["p99"]
    assert waits.read(queues.LOW_PRIORITY, seconds=60).run_ms.count, "background work really ran"
    assert not Tenant.objects.exists()
    assert not any(model.objects.exists() for model in (Document, Message, TaskRun))
