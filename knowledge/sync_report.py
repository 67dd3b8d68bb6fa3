"""Where a tenant's vectors stand: the model it is searched with, the queue, full syncs."""

from dataclasses import dataclass

from django.db.models import Count
from django.db.models.functions import Coalesce

from core.states import State
from knowledge import embeddings, search_model
from knowledge.models import Chunk, Document, FullSync, SearchModel, SyncItem
from tenants.models import Tenant


@dataclass(frozen=True)
class SyncReport:
    """Counts of one tenant. ``settings_model`` is another than ``search_model`` until a full sync has switched."""

    search_model: str
    settings_model: str
    is_model_known: bool
    documents: int
    excluded: int
    chunks: int
    embedded: int
    queued: int
    running: int
    failed: int
    full_sync: FullSync | None

    @property
    def is_well(self) -> bool:
        """Return whether nothing waits for an operator."""
        gave_up = self.full_sync is not None and self.full_sync.state == State.FAILED
        return self.is_model_known and not self.failed and not gave_up


def report(tenant: Tenant) -> SyncReport:
    """Return how things are now, in six queries."""
    documents = Document.objects.for_tenant(tenant)
    chunks = Chunk.objects.for_tenant(tenant)
    items = SyncItem.objects.for_tenant(tenant).values_list("state").order_by("state").annotate(Count("pk"))
    states = dict(items)
    model = search_model.of(tenant)
    return SyncReport(
        search_model=model,
        settings_model=embeddings.model_id(),
        is_model_known=embeddings.is_known(model),
        documents=documents.count(),
        excluded=documents.exclude(excluded_at=None).count(),
        chunks=chunks.count(),
        embedded=chunks.with_vector(model).count(),
        queued=states.get(State.QUEUED, 0),
        running=states.get(State.RUNNING, 0),
        failed=states.get(State.FAILED, 0),
        full_sync=FullSync.objects.for_tenant(tenant).order_by("-created_at").first(),
    )


def tenants_behind() -> tuple[list[str], list[str]]:
    """Return at most ten slugs of tenants that are searched with another model than the settings', known or unknown."""
    live = SearchModel.objects.filter(tenant__version="")
    slug = Coalesce("tenant__version_of__slug", "tenant__slug")
    known: list[str] = []
    unknown: list[str] = []
    for model, tenant in live.exclude(model=embeddings.model_id()).values_list("model", slug).order_by(slug)[:10]:
        (known if embeddings.is_known(model) else unknown).append(tenant)
    return known, unknown
