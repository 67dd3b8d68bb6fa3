"""Pages that an answer has cited and that are to be read again soon: what asks for it, and what takes it up.

Chat asks, the crawler takes; neither knows of the other. One row per document holds the last wish, so a hundred wishes
within ``REFETCH_PERIOD_HOURS`` are one.
"""

from collections.abc import Iterable
from datetime import datetime

from django.conf import settings
from django.db import connection

from knowledge.models import Document
from tenants.models import Tenant

# In the order of ids: two answers that cite the same pages must not wait for each other.
_WISH = """
    INSERT INTO knowledge_refetch AS wish (document_id, tenant_id, reason, asked_at)
    SELECT id, tenant_id, %(reason)s, statement_timestamp() FROM knowledge_document
    WHERE tenant_id = %(tenant)s AND url = ANY(%(urls)s)
        AND fetched_at < statement_timestamp() - make_interval(hours => %(hours)s)
    ORDER BY id
    ON CONFLICT (document_id) DO UPDATE SET reason = excluded.reason, asked_at = excluded.asked_at, taken_at = NULL
    WHERE wish.asked_at < statement_timestamp() - make_interval(hours => %(hours)s)
"""


def wish(*, tenant: Tenant, urls: Iterable[str], reason: str) -> int:
    """Have the tenant's pages read again, except those read or asked for in this period; return how many."""
    with connection.cursor() as cursor:
        cursor.execute(
            _WISH,
            {
                "tenant": tenant.knowledge_id,
                "urls": list(urls),
                "reason": reason,
                "hours": settings.REFETCH_PERIOD_HOURS,
            },
        )
        return cursor.rowcount


def read_dates(*, tenant: Tenant, urls: Iterable[str]) -> dict[str, datetime]:
    """Return when each of the tenant's pages was last read; those that are gone are missing."""
    return dict(Document.objects.for_tenant(tenant).filter(url__in=list(urls)).values_list("url", "fetched_at"))
