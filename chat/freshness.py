"""Answers that may rest on what a page said once: their pages are wished to be read again.

The crawler takes the wishes from the knowledge; chat does not know of it.
"""

from datetime import datetime

from django.utils import timezone

from chat.models import Message
from knowledge import services as knowledge
from knowledge.models import Refetch


def doubt(message: Message) -> int:
    """Have every page that the answer cites read again; return how many were not waiting for it."""
    urls = [citation["url"] for citation in message.citations]
    return knowledge.wish_refetch(tenant=message.tenant, urls=urls, reason=Refetch.Reason.DISLIKED)


def look_at_age(message: Message) -> int:
    """Have those cited pages read again that were last read before the tenant's limit; return how many."""
    limit = message.tenant.fresh_since(timezone.now())
    if limit is None:
        return 0
    old = [citation["url"] for citation in message.citations if _is_before(citation.get("fetched_at"), limit)]
    return knowledge.wish_refetch(tenant=message.tenant, urls=old, reason=Refetch.Reason.OLD) if old else 0


def _is_before(fetched_at: str | None, limit: datetime) -> bool:
    return fetched_at is not None and datetime.fromisoformat(fetched_at) < limit
