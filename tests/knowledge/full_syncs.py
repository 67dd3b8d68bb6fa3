"""A full sync's steps, as messages to a worker bring them about."""

from datetime import timedelta
from typing import Any

from django.db.models.functions import Now

from core.states import State
from knowledge import services, tasks
from knowledge.models import Chunk, FullSync
from tenants.models import Tenant


def begin(tenant: Tenant, **options: int) -> FullSync:
    return services.start_full_sync(tenant=tenant, **options)


def step(run: FullSync) -> FullSync:
    """Deliver one message of the run, as soon as it is due."""
    FullSync.objects.filter(pk=run.pk).update(not_before=Now() - timedelta(seconds=1))
    tasks.trigger_full_sync_task(full_sync_id=str(run.pk))
    return FullSync.objects.get(pk=run.pk)


def complete(run: FullSync) -> FullSync:
    for _message in range(100):
        run = step(run)
        if run.state not in (State.QUEUED, State.RUNNING):
            return run
    raise AssertionError(f"not over: {run}")


def change_model(settings: Any) -> None:
    settings.EMBEDDING_MODEL, settings.EMBEDDING_PREVIOUS_MODEL = "served/b", "served/a"


def models() -> set[tuple[str, str]]:
    return set(Chunk.objects.values_list("embedding_model", "next_embedding_model"))
