"""The shapes of syncing over HTTP."""

from rest_framework import serializers

from knowledge import full_sync
from knowledge.models import FullSync, SyncItem


class FullSyncInputSerializer(serializers.Serializer):
    batch_size = serializers.IntegerField(
        min_value=1,
        max_value=full_sync.BATCH_SIZE_MAX,
        default=full_sync.BATCH_SIZE,
        help_text="Passages a message at most.",
    )


class FullSyncStartedSerializer(serializers.Serializer):
    task_id = serializers.UUIDField(help_text="For `tasks/status`. The run that was open already, if there was one.")


class EmbeddingDeletionStartedSerializer(serializers.Serializer):
    task_id = serializers.UUIDField(help_text="For `tasks/status`.")


class ResyncedSerializer(serializers.ModelSerializer):
    class Meta:
        model = SyncItem
        fields = ["document_id", "state"]


class FullSyncSerializer(serializers.ModelSerializer):
    task_id = serializers.UUIDField(source="id")

    class Meta:
        model = FullSync
        fields = [
            "task_id", "state", "stage", "previous_model", "model", "batch_size", "total", "done", "failed", "error",
            "created_at", "switched_at", "finished_at",
        ]  # fmt: skip


class SyncReportSerializer(serializers.Serializer):
    search_model = serializers.CharField(help_text="The embedding model that searches compare by.")
    settings_model = serializers.CharField(help_text="The model of the settings; a full sync changes to it.")
    is_model_known = serializers.BooleanField(help_text="False: searches are by words alone until a full sync is over.")
    documents = serializers.IntegerField()
    excluded = serializers.IntegerField(help_text="Documents whose passages were deleted on demand.")
    chunks = serializers.IntegerField()
    embedded = serializers.IntegerField(help_text="Chunks that can be found by meaning.")
    queued = serializers.IntegerField(help_text="Documents that wait for vectors.")
    running = serializers.IntegerField()
    failed = serializers.IntegerField(help_text="Documents given up; `manage.py sync retry-failed` queues them again.")
    full_sync = FullSyncSerializer(allow_null=True, help_text="The last one.")
