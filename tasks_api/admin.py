"""The ledger, read-only but for revoking and retrying; and django-celery-beat's schedules with what operators ask."""

from collections.abc import Callable
from datetime import datetime

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from django_celery_beat.admin import PeriodicTaskAdmin
from django_celery_beat.models import PeriodicTask

from core.errors import PasokhError
from core.record_admin import RecordAdmin
from tasks_api import retrying, revoking, schedules
from tasks_api.models import IsolationProof, TaskRun

# Each chosen row is told to a worker or the broker; a page of them is as much as a click should do.
ACTION_LIMIT = 200


@admin.register(TaskRun)
class TaskRunAdmin(RecordAdmin):
    list_display = ["name", "state", "queue", "tenant", "attempts", "worker", "created_at", "started_at", "finished_at"]
    list_filter = ["state", "queue", "name"]
    list_select_related = ["tenant"]
    search_fields = ["id", "request_id", "error"]
    ordering = ["-created_at", "-id"]
    actions = ["revoke", "retry"]

    @admin.action(description=_("Revoke: skip what waits, stop what runs"), permissions=["run"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[TaskRun]) -> None:
        self._each(request, queryset, revoking.revoke)

    @admin.action(description=_("Run again what failed or was revoked"), permissions=["run"])
    def retry(self, request: HttpRequest, queryset: QuerySet[TaskRun]) -> None:
        self._each(request, queryset, retrying.retry)

    def has_run_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("tasks_api.change_taskrun")

    def _each(self, request: HttpRequest, queryset: QuerySet[TaskRun], act: Callable[[TaskRun], object]) -> None:
        count = 0
        for run in queryset[:ACTION_LIMIT]:
            try:
                act(run)
                count += 1
            except PasokhError as exc:
                self.message_user(request, f"{run}: {exc}", messages.WARNING)
        self.message_user(request, _("%(count)d tasks.") % {"count": count})


@admin.register(IsolationProof)
class IsolationProofAdmin(RecordAdmin):
    list_display = ["created_at", "is_kept", "wait_idle", "wait_loaded", "reason"]
    list_filter = ["is_kept"]
    ordering = ["-created_at"]

    @admin.display(description=_("chat's wait alone, p99 ms"))
    def wait_idle(self, proof: IsolationProof) -> float | None:
        return proof.wait_p99_ms("idle")

    @admin.display(description=_("chat's wait under load, p99 ms"))
    def wait_loaded(self, proof: IsolationProof) -> float | None:
        return proof.wait_p99_ms("loaded")


admin.site.unregister(PeriodicTask)


@admin.register(PeriodicTask)
class ScheduleAdmin(PeriodicTaskAdmin):
    list_display = ["name", "enabled", "when", "last_run_at", "next_run_at", "on_time", "total_run_count"]
    list_filter = ["enabled", "task"]
    actions = ["run_now", "enable_tasks", "disable_tasks"]

    @admin.display(description=_("schedule"))
    def when(self, row: PeriodicTask) -> str:
        return schedules.in_words(row)

    @admin.display(description=_("next run"))
    def next_run_at(self, row: PeriodicTask) -> datetime | None:
        return schedules.next_run(row)

    @admin.display(description=_("on time"), boolean=True)
    def on_time(self, row: PeriodicTask) -> bool | None:
        described = schedules.describe(row)
        return None if not described.enabled else not described.is_late

    @admin.action(description=_("Run now"), permissions=["change"])
    def run_now(self, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> None:
        for row in queryset:
            try:
                task_id = schedules.run_now(row)
            except PasokhError as exc:
                self.message_user(request, f"{row.name}: {exc}", messages.ERROR)
            else:
                self.message_user(request, f"{row.name}: {task_id}")
