"""The version of what a tenant knows: a number that grows with every change that search could see.

It lets others keep what they made of the knowledge for exactly as long as it holds, such as the cached answers.
"""

import uuid

from django.db import connection
from django.db.models import Sum

from knowledge.models import KnowledgeVersion
from tenants.models import Tenant

# One row would make all who store pages of a tenant wait for each other, and deadlock where they hold more locks.
# So a row that another transaction holds is passed over, and if all are held one more is made: about as many rows as
# ever wrote at once. The version is their sum, which grows with each commit in whatever order the commits come.
_ADD = """
    WITH free AS (
        SELECT id FROM knowledge_knowledgeversion WHERE tenant_id = %(tenant)s
        ORDER BY id LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED
    ), added AS (
        UPDATE knowledge_knowledgeversion SET changes = changes + 1 WHERE id IN (SELECT id FROM free) RETURNING id
    )
    INSERT INTO knowledge_knowledgeversion (tenant_id, changes)
    SELECT %(tenant)s, 1 WHERE NOT EXISTS (SELECT FROM added)
"""


def add_change(tenant_id: uuid.UUID) -> None:
    """Count a change; in the transaction that makes it, so that both are seen at the same moment. Waits for nobody."""
    with connection.cursor() as cursor:
        cursor.execute(_ADD, {"tenant": tenant_id})


def current(tenant: Tenant) -> int:
    """Return the version; what is read afterwards is at least as new."""
    return KnowledgeVersion.objects.for_tenant(tenant).aggregate(version=Sum("changes"))["version"] or 0
