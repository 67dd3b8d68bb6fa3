"""What the system tells people, shown on the chat page."""

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from tenants import services as tenants
from tenants.models import NotificationReceipt
from tenants.tasks import send_system_notification

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def nothing_is_sent(monkeypatch):
    monkeypatch.setattr("celery.app.task.Task.apply_async", lambda *_args, **_options: None)


def member_of(tenant, name):
    user = User.objects.create_user(name)
    tenants.add_member(tenant=tenant, user=user)
    return user


def browser_of(user, **options):
    client = Client(**options)
    client.force_login(user)
    return client


@pytest.fixture
def mina(tenant):
    return member_of(tenant, "mina")


@pytest.fixture
def browser(mina):
    return browser_of(mina)


def announce(subject="Maintenance", body="Tonight.", **values):
    notification = tenants.notify(subject=subject, body=body, **values)
    send_system_notification(notification_id=str(notification.pk))
    return notification


def copy_of(user, **values):
    return NotificationReceipt.objects.get(user=user, **values)


def shown(client, path="/", **options):
    return client.get(path, **options).content.decode()


def dismiss(client, receipt):
    return client.post(reverse("chat-dismiss", args=[receipt.pk]))


def test_the_members_of_the_tenant_see_it_and_no_one_else(tenant, browser):
    other = browser_of(member_of(tenants.create_tenant(slug="other"), "omid"))

    announce(tenant=tenant)

    assert "Maintenance" in shown(browser)
    assert "Tonight." in shown(browser)
    assert "Maintenance" not in shown(other)


def test_a_member_of_several_tenants_sees_it_in_its_tenant(tenant, mina, browser):
    second = tenants.create_tenant(slug="zeta", name="Zeta")
    tenants.add_member(tenant=second, user=mina)

    announce(tenant=second)

    assert "Maintenance" not in shown(browser, "/?tenant=acme")
    assert "Maintenance" in shown(browser, "/?tenant=zeta")


def test_it_is_written_in_the_language_of_the_page_where_it_can_be(tenant, browser):
    announce(tenant=tenant, subject_fa="نگهداری", body_fa="امشب.", level="problem")
    announce("Only in English", tenant=tenant)

    html = shown(browser, headers={"Accept-Language": "fa"})

    assert '<p class="notice-subject" dir="rtl">نگهداری</p>' in html
    assert '<p class="notice-subject" dir="ltr">Only in English</p>' in html
    assert "Maintenance" not in html
    assert ">بستن</button>" in html
    assert "نگهداری" not in shown(browser, headers={"Accept-Language": "en"})


def test_the_three_newest_are_shown_and_the_others_are_counted(tenant, browser):
    for number in range(1, 6):
        announce(f"Notice {number}", tenant=tenant)

    html = shown(browser)

    assert html.index("Notice 5</p>") < html.index("Notice 4</p>") < html.index("Notice 3</p>")
    assert "Notice 2" not in html
    assert "2 more</p>" in html
    assert "۲ اعلان دیگر</p>" in shown(browser, headers={"Accept-Language": "fa"})


def test_text_is_escaped(tenant, browser):
    announce('<img src=x onerror="alert(1)">', "<script>alert(2)</script>", tenant=tenant)

    html = shown(browser)

    assert "<img src=x" not in html
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert(2)&lt;/script&gt;" in html


def test_dismissing_marks_the_members_own_copy_and_returns_what_is_left(tenant, mina, browser):
    omid = member_of(tenant, "omid")
    for number in range(1, 5):
        announce(f"Notice {number}", tenant=tenant)

    answer = dismiss(browser, copy_of(mina, notification__subject="Notice 4"))

    left = answer.content.decode()
    assert answer.status_code == 200
    assert "Notice 4" not in left
    assert "Notice 1" in left
    assert "Notice 4" not in shown(browser)
    assert "Notice 4" in shown(browser_of(omid))
    assert copy_of(omid, notification__subject="Notice 4").read_at is None


def test_dismissing_again_in_another_tab_changes_nothing(tenant, mina, browser):
    announce(tenant=tenant)
    dismiss(browser, copy_of(mina))
    read_at = copy_of(mina).read_at

    answer = dismiss(browser, copy_of(mina))

    assert (answer.status_code, answer.content.strip()) == (200, b"")
    assert copy_of(mina).read_at == read_at
    assert 'aria-label="Notices" hidden>' in shown(browser)


def test_a_copy_of_another_member_or_of_a_tenant_that_was_left_is_not_found(tenant, mina, browser, client):
    announce(tenant=tenant)
    omid = browser_of(member_of(tenant, "omid"))
    receipt = copy_of(mina)

    assert dismiss(omid, receipt).status_code == 404
    assert dismiss(client, receipt).status_code == 404
    assert browser.post("/chat/notices/99999999999999999999999/dismiss/").status_code == 404
    mina.memberships.all().delete()
    assert dismiss(browser, receipt).status_code == 404
    assert copy_of(mina).read_at is None


def test_dismissing_needs_a_post_with_the_pages_token(tenant, mina):
    announce(tenant=tenant)
    strict = browser_of(mina, enforce_csrf_checks=True)

    assert strict.get(reverse("chat-dismiss", args=[copy_of(mina).pk])).status_code == 405
    assert dismiss(strict, copy_of(mina)).status_code == 403
    assert copy_of(mina).read_at is None


def test_many_notices_cost_one_query(tenant, browser, django_assert_num_queries):
    announce(tenant=tenant)
    # session, user, first tenant, tenants, conversations, two for suggestions, notices
    with django_assert_num_queries(8):
        browser.get("/")
    for number in range(10):
        announce(f"Notice {number}", tenant=tenant)

    with django_assert_num_queries(8):
        browser.get("/")
