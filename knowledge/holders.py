"""Which versions of a tenant's knowledge a change is made in: the live one and those beside it, in one transaction.

So nothing that was handed over, changed or taken away is missing after a switch, nor after a way back, and there is
nothing to be carried over then (docs/freshness.md).
"""

import uuid
from typing import NamedTuple

from django.db import connection
from django.db.models import Q, QuerySet

from knowledge.models import Document
from tenants.models import Tenant

_CHANGES, _COPYING = 0x76657273, 0x636F7079  # the locks of this module alone


class Holders(NamedTuple):
    """``all`` is in the order in which what they hold is locked."""

    live: uuid.UUID
    all: list[uuid.UUID]


def of_change(tenant: Tenant) -> Holders:
    """Return who holds the versions that a change is made in.

    A version's own crawl changes that version alone. Call it in the transaction of the change: until that ends no
    further version is begun, which would copy what was there before it.
    """
    if tenant.version_of_id or tenant.holder_id == tenant.pk:
        return Holders(tenant.pk, [tenant.pk])
    return _of_customer(tenant.pk)


def wait_for_changes(tenant: Tenant) -> None:
    """Wait until the changes that are being made are over; those after them wait until this transaction ends."""
    _lock("pg_advisory_xact_lock", _CHANGES, tenant.pk)


def copy_apart(customer_id: uuid.UUID) -> None:
    """Begin to copy documents when nobody takes any away; who comes to do so waits until this transaction ends."""
    _lock("pg_advisory_xact_lock", _COPYING, customer_id)


def take_away_apart(customer_id: uuid.UUID) -> None:
    """Wait for the documents that are being copied, before any is looked for.

    A statement that waited for them in the live version would have looked for them beside it before they were there.
    """
    _lock("pg_advisory_xact_lock_shared", _COPYING, customer_id)


def twins(document: Document) -> QuerySet[Document]:
    """Return the document as all versions have it, locked."""
    take_away_apart(document.tenant.customer_id)
    same = Document.objects.filter(tenant__in=_of_customer(document.tenant.customer_id).all, url=document.url)
    return same.order_by("tenant").select_for_update(no_key=True)


def _of_customer(customer_id: uuid.UUID) -> Holders:
    _lock("pg_advisory_xact_lock_shared", _CHANGES, customer_id)
    rows = Tenant.objects.filter(Q(pk=customer_id) | Q(version_of=customer_id)).exclude(version=Tenant.Version.DROPPED)
    versions = dict(rows.order_by("pk").values_list("pk", "version"))
    return Holders(next(pk for pk, version in versions.items() if not version), list(versions))


def _lock(function: str, space: int, customer_id: uuid.UUID) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {function}(%s, hashtext(%s))", [space, str(customer_id)])
