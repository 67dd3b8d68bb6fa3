from typing import Any

from django_celery_results.models import TaskResult
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from tasks_api.models import TaskRun


class TaskSerializer(serializers.ModelSerializer):
    task_id = serializers.UUIDField(source="id")
    tenant = serializers.SlugField(source="tenant.slug", default=None, allow_null=True)

    class Meta:
        model = TaskRun
        fields = [
            "task_id", "name", "queue", "state", "tenant", "arguments", "attempts", "retries", "worker", "error",
            "request_id", "created_at", "queued_at", "eta", "started_at", "finished_at", "revoke_requested_at",
        ]  # fmt: skip


class TaskStatusSerializer(TaskSerializer):
    result = serializers.SerializerMethodField()

    class Meta(TaskSerializer.Meta):
        fields = [*TaskSerializer.Meta.fields, "result"]

    @extend_schema_field({"nullable": True, "description": "What the task returned, where that is kept: counts."})
    def get_result(self, run: TaskRun) -> Any:
        kept = TaskResult.objects.filter(task_id=str(run.pk), status="SUCCESS").first()
        return serializers.JSONField(binary=True).to_internal_value(kept.result) if kept and kept.result else None


class StartedSerializer(serializers.Serializer):
    task_id = serializers.UUIDField()


class WorkerSerializer(serializers.Serializer):
    name = serializers.CharField()
    pid = serializers.IntegerField()
    pool = serializers.CharField()
    queues = serializers.ListField(child=serializers.CharField())
    concurrency = serializers.IntegerField()
    active = serializers.IntegerField()
    processed = serializers.IntegerField()
    heartbeat_age_seconds = serializers.FloatField()
    is_alive = serializers.BooleanField()


class SpreadSerializer(serializers.Serializer):
    count = serializers.IntegerField()
    p50 = serializers.FloatField(allow_null=True)
    p95 = serializers.FloatField(allow_null=True)
    p99 = serializers.FloatField(allow_null=True)


class QueueSerializer(serializers.Serializer):
    name = serializers.CharField()
    length = serializers.IntegerField(help_text="Messages in the broker.")
    queued = serializers.IntegerField()
    scheduled = serializers.IntegerField()
    running = serializers.IntegerField()
    oldest_age_seconds = serializers.FloatField(allow_null=True)
    consumers = serializers.ListField(child=serializers.CharField(), help_text="Workers that read it and are alive.")
    wait_ms = SpreadSerializer(help_text="From sending to starting, of the last five minutes.")
    run_ms = SpreadSerializer(help_text="Of the tasks that ended in the last five minutes.")
    brownout_level = serializers.IntegerField(help_text="0: full speed; up to 3: slowed because chats wait too long.")


class ScheduleSerializer(serializers.Serializer):
    id = serializers.IntegerField()
    name = serializers.CharField()
    task = serializers.CharField()
    queue = serializers.CharField()
    when = serializers.CharField()
    enabled = serializers.BooleanField()
    last_run_at = serializers.DateTimeField(allow_null=True)
    next_run_at = serializers.DateTimeField(allow_null=True)
    is_late = serializers.BooleanField()
    total_run_count = serializers.IntegerField()


class ScheduleChangeSerializer(serializers.Serializer):
    enabled = serializers.BooleanField()
