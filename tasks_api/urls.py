"""``/api/v1/tasks/``: the client's addresses have no trailing slash; both forms work."""

from drf_spectacular.utils import extend_schema, extend_schema_view

from core.addresses import either_slash
from tasks_api import views
from tasks_api.triggers import TRIGGERS


def _trigger_view(name: str) -> type[views.TriggerView]:
    view = type(f"{name.title().replace('-', '')}TriggerView", (views.TriggerView,), {"trigger": name})
    return extend_schema_view(post=extend_schema(operation_id=f"task_trigger_{name.replace('-', '_')}"))(view)


urlpatterns = [
    *either_slash("status/<uuid:task_id>", views.StatusView.as_view(), "task-status"),
    *either_slash("list", views.ListView.as_view(), "task-list"),
    *either_slash("revoke/<uuid:task_id>", views.RevokeView.as_view(), "task-revoke"),
    *either_slash("retry/<uuid:task_id>", views.RetryView.as_view(), "task-retry"),
    *either_slash("workers", views.WorkersView.as_view(), "task-workers"),
    *either_slash("queues", views.QueuesView.as_view(), "task-queues"),
    *either_slash("schedules", views.SchedulesView.as_view(), "task-schedules"),
    *either_slash("schedules/<int:schedule_id>", views.ScheduleView.as_view(), "task-schedule"),
    *either_slash("schedules/<int:schedule_id>/run", views.ScheduleRunView.as_view(), "task-schedule-run"),
    *(
        address
        for name in TRIGGERS
        for address in either_slash(f"trigger/{name}", _trigger_view(name).as_view(), f"task-trigger-{name}")
    ),
]
