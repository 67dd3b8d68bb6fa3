"""Which embedding model each tenant is searched with, and which models its passages get vectors of.

A tenant keeps the model it was first embedded with, whatever the settings say since, until a full sync has made all
of its vectors anew and switches it.
"""

import uuid

from django.db import connection

from core.postgres import prepared
from knowledge import embeddings
from knowledge.models import FullSync, Place, SearchModel
from tenants.models import Tenant

Plan = list[tuple[Place, str]]

_FIND = "SELECT model FROM knowledge_searchmodel WHERE tenant_id = %s"


def of(tenant: Tenant) -> str:
    """Return the model whose vectors this tenant's are compared by."""
    with connection.cursor() as cursor:  # by hand: every question asks
        prepared.execute(cursor, _FIND, [tenant.knowledge_id])
        row = cursor.fetchone()
    return row[0] if row else embeddings.model_id()


def lock(tenant_id: uuid.UUID) -> SearchModel:
    """Return the tenant's row, locked until the transaction ends; the first caller settles on the settings' model."""
    row, _created = SearchModel.objects.select_for_update(no_key=True).get_or_create(
        tenant_id=tenant_id, defaults={"model": embeddings.model_id()}
    )
    return row


def plan(tenant_id: uuid.UUID) -> Plan:
    """Return what a passage of the tenant is to have, in the order of making; call it in a transaction.

    While the model is being changed that is the next one's vector too, and first: a passage that had only the old
    one's would have to be found and made before the switch. Where the old model is nowhere to be had, only the
    settings' model remains; its vectors wait for a full sync.
    """
    current = lock(tenant_id).model
    syncing = FullSync.objects.embedding().filter(tenant_id=tenant_id).values_list("model", flat=True).first()
    is_known = embeddings.is_known(current)
    target = syncing or (current if is_known else embeddings.model_id())
    made: Plan = [(Place.NEXT, target)] if target != current else []
    return [*made, (Place.NOW, current)] if is_known else made
