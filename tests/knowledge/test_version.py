"""The version of a tenant's knowledge: every change counts, and nobody waits to be counted."""

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest
from django.db import connection, transaction
from django.utils import timezone

from knowledge import services, version
from knowledge.models import KnowledgeVersion
from tests.sessions import in_own_session

pytestmark = pytest.mark.django_db


def test_what_changes_the_text_changes_the_version_and_what_does_not_does_not(tenant, stranger, store):
    versions = [version.current(tenant)]
    at = timezone.now()
    for content in ("One.", "Two.", "Two."):
        store(tenant, "https://acme.example/", content, at=at)
        versions.append(version.current(tenant))
    services.remove_page(tenant=tenant, url="https://acme.example/")
    versions.append(version.current(tenant))
    services.remove_page(tenant=tenant, url="https://acme.example/")
    versions.append(version.current(tenant))

    grew = [after > before for before, after in pairwise(versions)]
    assert grew == [True, True, False, True, False]
    assert version.current(stranger) == 0


def test_several_pages_removed_at_once_change_it(tenant, store):
    store(tenant, "https://acme.example/", "One.")
    before = version.current(tenant)

    services.remove_pages(tenant=tenant, urls=["https://acme.example/"])
    assert version.current(tenant) > before


@pytest.mark.django_db(transaction=True)
def test_no_change_is_lost_among_many_at_once(tenant):
    @in_own_session
    @transaction.atomic
    def change(_number):
        version.add_change(tenant.pk)
        version.add_change(tenant.pk)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(change, range(60)))

    assert version.current(tenant) == 120
    assert KnowledgeVersion.objects.count() < 30  # about as many as wrote at once


@pytest.mark.django_db(transaction=True)
def test_a_change_waits_for_no_other_and_both_count_in_whatever_order_they_commit(tenant):
    @in_own_session
    def change():
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '1s'")
        version.add_change(tenant.pk)

    version.add_change(tenant.pk)
    with ThreadPoolExecutor(1) as pool, transaction.atomic():
        version.add_change(tenant.pk)
        pool.submit(change).result()

    assert version.current(tenant) == 3
