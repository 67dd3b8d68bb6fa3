"""The ledger and the schedules in the admin."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from tasks_api.models import TaskRun

pytestmark = pytest.mark.django_db
TASKS = "/admin/tasks_api/taskrun/"
SCHEDULES = "/admin/django_celery_beat/periodictask/"


@pytest.fixture
def schedule():
    every = IntervalSchedule.objects.create(every=3600, period="seconds")
    return PeriodicTask.objects.create(
        name="hourly", task="tasks_api.cleanup_old_cache", interval=every, last_run_at=timezone.now()
    )


def run_action(client, address, action, *rows):
    body = {"action": action, "_selected_action": [str(row.pk) for row in rows]}
    return client.post(address, body, follow=True).content.decode()


def test_tasks_are_listed_and_cannot_be_edited_or_deleted(admin_client):
    run = TaskRun.objects.create(name="crawl.process_page_content", queue="low_priority")

    page = admin_client.get(TASKS).content.decode()

    assert "crawl.process_page_content" in page
    assert "delete_selected" not in page
    assert admin_client.get(f"{TASKS}{run.pk}/change/").status_code == 200
    assert admin_client.post(f"{TASKS}{run.pk}/change/", {"state": "done"}).status_code == 403
    assert admin_client.post(f"{TASKS}{run.pk}/delete/", {"post": "yes"}).status_code == 403


def test_tasks_are_revoked_and_run_again_by_actions(admin_client, redis_client):
    waiting = TaskRun.objects.create(name="tasks_api.cleanup_old_cache", queue="low_priority")
    over = TaskRun.objects.create(name="tasks_api.cleanup_old_cache", queue="low_priority", state="done")

    page = run_action(admin_client, TASKS, "revoke", waiting, over)
    run_action(admin_client, TASKS, "retry", TaskRun.objects.get(pk=waiting.pk))

    assert "already" in page  # what is over says so, and does not stop the rest
    waiting.refresh_from_db()
    assert waiting.state == "revoked"
    assert TaskRun.objects.filter(state="queued", name="tasks_api.cleanup_old_cache").count() == 1


def test_who_may_only_look_cannot_revoke(client):
    user = User.objects.create_user("auditor", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_taskrun"))
    client.force_login(user)
    waiting = TaskRun.objects.create(name="tasks_api.cleanup_old_cache", queue="low_priority")

    run_action(client, TASKS, "revoke", waiting)

    waiting.refresh_from_db()
    assert waiting.state == "queued"


def test_schedules_show_next_run_and_lateness_and_run_now(admin_client, schedule, redis_client):
    page = admin_client.get(SCHEDULES).content.decode()
    assert "icon-yes" in page
    PeriodicTask.objects.update(last_run_at=timezone.now() - timedelta(days=1), enabled=True)
    assert "icon-no" in admin_client.get(SCHEDULES + "?enabled__exact=1").content.decode()

    run_action(admin_client, SCHEDULES, "run_now", schedule)

    assert TaskRun.objects.get().name == "tasks_api.cleanup_old_cache"
