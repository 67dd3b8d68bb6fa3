"""Tasks over HTTP (docs/tasks-api.md). Nothing here asks a worker: rows and heartbeats answer."""

import uuid
from typing import Any

from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from django_celery_beat.models import PeriodicTask
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from core.pagination import NewestFirst
from tasks_api import heartbeats, queue_report, retrying, revoking, schedules, triggers
from tasks_api.errors import FilterInvalidError
from tasks_api.models import TaskRun, TaskRunQuerySet, TaskState
from tasks_api.serializers import (
    QueueSerializer,
    ScheduleChangeSerializer,
    ScheduleSerializer,
    StartedSerializer,
    TaskSerializer,
    TaskStatusSerializer,
    WorkerSerializer,
)
from tenants.authentication import Operator
from tenants.permissions import Callers
from tenants.scopes import Scope


class TaskView(APIView):
    """A view of tasks: a tenant's key meets its own, an operator's all."""

    required_scope = Scope.TASKS
    callers = Callers.BOTH

    def visible(self) -> TaskRunQuerySet:
        tasks: TaskRunQuerySet = TaskRun.objects.select_related("tenant")
        caller: Any = self.request.user
        return tasks if isinstance(caller, Operator) else tasks.for_tenant(caller.tenant)

    def get_task(self, task_id: uuid.UUID) -> TaskRun:
        return get_object_or_404(self.visible(), pk=task_id)


class OperatorView(APIView):
    callers = Callers.OPERATORS


class StatusView(TaskView):
    @extend_schema(operation_id="task_status", summary="Look a task up", responses=TaskStatusSerializer)
    def get(self, request: Request, task_id: uuid.UUID) -> Response:
        return Response(TaskStatusSerializer(self.get_task(task_id)).data)


@extend_schema_view(
    get=extend_schema(
        operation_id="task_list",
        summary="List tasks",
        description="Active tasks (queued, running, scheduled) unless states are named; the newest first.",
        parameters=[
            OpenApiParameter("queue", str),
            OpenApiParameter("name", str, description="The task's full name."),
            OpenApiParameter("state", str, many=True, enum=TaskState.values, description="May be repeated."),
        ],
    )
)
class ListView(TaskView, ListAPIView):
    serializer_class = TaskSerializer
    pagination_class = NewestFirst

    def get_queryset(self) -> QuerySet[TaskRun]:
        params = self.request.query_params
        states = [state for given in params.getlist("state") for state in given.split(",")]
        if unknown := sorted(set(states) - set(TaskState.values)):
            raise FilterInvalidError(f"Unknown state: {', '.join(unknown)}. There are: {', '.join(TaskState.values)}.")
        tasks = self.visible()
        tasks = tasks.filter(state__in=states) if states else tasks.open()
        return tasks.filter(**{field: params[field] for field in ("queue", "name") if field in params})


class RevokeView(TaskView):
    @extend_schema(
        operation_id="task_revoke",
        summary="Revoke a task",
        description="A waiting task ends as `revoked` at once (200). A running one is told to stop (202) and becomes "
        "`revoked` when it has. Safe to repeat.",
        request=None,
        responses={200: TaskSerializer, 202: TaskSerializer},
    )
    def post(self, request: Request, task_id: uuid.UUID) -> Response:
        run = revoking.revoke(self.get_task(task_id))
        return Response(TaskSerializer(run).data, status=200 if run.state == TaskState.REVOKED else 202)


class RetryView(TaskView):
    @extend_schema(
        operation_id="task_retry",
        summary="Run a failed or revoked task again",
        request=None,
        responses={202: StartedSerializer},
    )
    def post(self, request: Request, task_id: uuid.UUID) -> Response:
        return Response({"task_id": retrying.retry(self.get_task(task_id))}, status=202)


class WorkersView(OperatorView):
    @extend_schema(operation_id="task_workers", summary="List workers", responses=WorkerSerializer(many=True))
    def get(self, request: Request) -> Response:
        return Response(WorkerSerializer(heartbeats.workers(), many=True).data)


class QueuesView(OperatorView):
    @extend_schema(operation_id="task_queues", summary="List queues", responses=QueueSerializer(many=True))
    def get(self, request: Request) -> Response:
        return Response(QueueSerializer(queue_report.queue_reports(), many=True).data)


class TriggerView(OperatorView):
    """One of `triggers.TRIGGERS`; the address names it."""

    trigger = ""

    @extend_schema(summary="Start a task by hand", request=None, responses={202: StartedSerializer})
    def post(self, request: Request) -> Response:
        return Response({"task_id": triggers.trigger(self.trigger)}, status=202)


class SchedulesView(OperatorView):
    @extend_schema(operation_id="schedule_list", summary="List schedules", responses=ScheduleSerializer(many=True))
    def get(self, request: Request) -> Response:
        return Response(ScheduleSerializer(schedules.all_schedules(), many=True).data)


class ScheduleView(OperatorView):
    @extend_schema(operation_id="schedule", summary="Look a schedule up", responses=ScheduleSerializer)
    def get(self, request: Request, schedule_id: int) -> Response:
        return _described(get_object_or_404(PeriodicTask, pk=schedule_id))

    @extend_schema(
        operation_id="schedule_change",
        summary="Switch a schedule on or off",
        request=ScheduleChangeSerializer,
        responses=ScheduleSerializer,
    )
    def patch(self, request: Request, schedule_id: int) -> Response:
        row = get_object_or_404(PeriodicTask, pk=schedule_id)
        change = ScheduleChangeSerializer(data=request.data)
        change.is_valid(raise_exception=True)
        schedules.set_enabled(row, enabled=change.validated_data["enabled"])
        return _described(row)


class ScheduleRunView(OperatorView):
    @extend_schema(
        operation_id="schedule_run", summary="Run a schedule now", request=None, responses={202: StartedSerializer}
    )
    def post(self, request: Request, schedule_id: int) -> Response:
        row = get_object_or_404(PeriodicTask, pk=schedule_id)
        return Response({"task_id": schedules.run_now(row)}, status=202)


def _described(row: Any) -> Response:
    return Response(ScheduleSerializer(schedules.describe(row)).data)
