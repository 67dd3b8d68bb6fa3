"""Taking away what chat no longer needs: cached answers past their use, conversations past their tenant's retention.

Every step takes the most rows that it may touch, does that in one transaction, and returns how many it were.
"""

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from chat import query_cache
from chat.answering.steps import author
from core.batches import Step

_EXPIRED = """
    DELETE FROM chat_cachedanswer WHERE id = ANY(ARRAY(
        SELECT id FROM chat_cachedanswer WHERE expires_at <= %(now)s ORDER BY expires_at LIMIT %(limit)s
    ))
"""
_BEYOND_LIMIT = """
    DELETE FROM chat_cachedanswer WHERE id = ANY(ARRAY(
        SELECT surplus.id
        FROM (
            SELECT tenant_id FROM chat_cachedanswer GROUP BY tenant_id HAVING count(*) > %(kept)s
        ) tenant
        CROSS JOIN LATERAL (
            SELECT id FROM chat_cachedanswer WHERE tenant_id = tenant.tenant_id
            ORDER BY used_at DESC, id DESC OFFSET %(kept)s LIMIT %(limit)s
        ) surplus
        LIMIT %(limit)s
    ))
"""
_UNUSED = """
    DELETE FROM chat_cachedanswer WHERE id = ANY(ARRAY(
        SELECT id FROM chat_cachedanswer WHERE used_at < %(before)s LIMIT %(limit)s
    ))
"""
_OUTDATED = """
    WITH current AS MATERIALIZED (
        SELECT tenant.id AS tenant_id, sum(changes) AS version FROM tenants_tenant tenant
        JOIN knowledge_knowledgeversion part ON part.tenant_id = coalesce(tenant.holder_id, tenant.id)
        GROUP BY tenant.id
    )
    DELETE FROM chat_cachedanswer WHERE id = ANY(ARRAY(
        SELECT answer.id FROM chat_cachedanswer answer LEFT JOIN current USING (tenant_id)
        WHERE answer.basis <> %(basis)s OR answer.knowledge_version <> coalesce(current.version, 0)
        LIMIT %(limit)s
    ))
"""
# A conversation's time counts from its last question.
_ARCHIVE = """
    UPDATE chat_conversation SET archived_at = %(now)s WHERE archived_at IS NULL AND id = ANY(ARRAY(
        SELECT silent.id
        FROM tenants_tenant tenant
        CROSS JOIN LATERAL (
            SELECT %(now)s - make_interval(days => least(tenant.archive_after_days, 36500)) AS moment
        ) since
        CROSS JOIN LATERAL (
            SELECT id FROM chat_conversation conversation
            WHERE tenant_id = tenant.id AND archived_at IS NULL AND created_at < since.moment
                AND NOT EXISTS (
                    SELECT FROM chat_message WHERE conversation_id = conversation.id
                        AND (created_at >= since.moment OR state IN ('queued', 'running'))
                )
            ORDER BY created_at LIMIT %(limit)s
            FOR NO KEY UPDATE SKIP LOCKED
        ) silent
        WHERE tenant.archive_after_days IS NOT NULL
        LIMIT %(limit)s
    ))
"""
_TIME_IS_UP = """
    SELECT conversation.id
    FROM tenants_tenant tenant
    CROSS JOIN LATERAL (
        SELECT id FROM chat_conversation
        WHERE tenant_id = tenant.id
            AND archived_at < %(now)s - make_interval(days => least(tenant.erase_after_days, 36500))
        ORDER BY archived_at LIMIT %(limit)s
        FOR UPDATE SKIP LOCKED
    ) conversation
    WHERE tenant.erase_after_days IS NOT NULL
    LIMIT %(limit)s
"""
_ERASE_MESSAGES = """
    DELETE FROM chat_message WHERE id = ANY(ARRAY(
        SELECT id FROM chat_message WHERE conversation_id = ANY(%(ids)s) LIMIT %(limit)s
    ))
"""
_ERASE_EMPTY = """
    DELETE FROM chat_conversation conversation WHERE id = ANY(%(ids)s)
        AND NOT EXISTS (SELECT FROM chat_message WHERE conversation_id = conversation.id)
"""


def forget_expired_answers(limit: int) -> int:
    """Delete cached answers whose time is over."""
    return _execute(_EXPIRED, limit)


def forget_answers_beyond_limit(limit: int) -> int:
    """Delete, where a tenant keeps too many cached answers, those that were not used for the longest time."""
    return _execute(_BEYOND_LIMIT, limit, kept=settings.QUERY_CACHE_ANSWERS_PER_TENANT)


def forget_unused_answers(limit: int) -> int:
    """Delete cached answers that nobody has asked for lately."""
    return _execute(_UNUSED, limit, before=timezone.now() - timedelta(days=settings.QUERY_CACHE_UNUSED_DAYS))


def forget_outdated_answers(limit: int) -> int:
    """Delete cached answers that are not found any more: made of other knowledge, or by another model or code."""
    return _execute(_OUTDATED, limit, basis=query_cache.basis(author()))


def archive_conversations(limit: int) -> int:
    """Archive conversations that were silent for as long as their tenant's retention says."""
    return _execute(_ARCHIVE, limit)


@transaction.atomic
def erase_conversations(limit: int) -> int:
    """Erase conversations that were archived for as long as their tenant's retention says, messages first.

    Returns the rows of both kinds, at most ``limit`` of each. Locked ones wait: somebody is asking in them just now.
    """
    with connection.cursor() as cursor:
        cursor.execute(_TIME_IS_UP, {"now": timezone.now(), "limit": limit})
        values: dict[str, Any] = {"ids": [row[0] for row in cursor.fetchall()], "limit": limit}
        cursor.execute(_ERASE_MESSAGES, values)
        messages = int(cursor.rowcount)
        cursor.execute(_ERASE_EMPTY, values)
        return messages + int(cursor.rowcount)


CACHE: dict[str, Step] = {
    "expired_answers": forget_expired_answers,
    "surplus_answers": forget_answers_beyond_limit,
}
QUERY_CACHE: dict[str, Step] = {
    "outdated_answers": forget_outdated_answers,
    "unused_answers": forget_unused_answers,
}
CONVERSATIONS: dict[str, Step] = {
    "archived_conversations": archive_conversations,
    "erased_rows": erase_conversations,
}


@transaction.atomic
def _execute(sql: str, limit: int, **values: Any) -> int:
    values |= {"now": timezone.now(), "limit": limit}
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return int(cursor.rowcount)
