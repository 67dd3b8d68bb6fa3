"""The shapes of files that are handed over."""

from rest_framework import serializers

from core.states import State
from crawl.models import Upload


class UploadInputSerializer(serializers.Serializer):
    file = serializers.FileField(help_text="PDF, DOCX, plain text (.txt) or Markdown (.md).")
    title = serializers.CharField(
        max_length=500, required=False, default="", allow_blank=True, help_text="Else the file's own, or its name."
    )
    url = serializers.CharField(
        max_length=2000,
        required=False,
        default="",
        allow_blank=True,
        help_text="Where readers find the file; citations lead there. Without it they name the file alone.",
    )


class UploadSerializer(serializers.ModelSerializer):
    document_id = serializers.UUIDField(allow_null=True)
    detail = serializers.CharField(help_text="How much of it was read, where that is not all.")
    error = serializers.CharField(help_text="Why there is no document, in words.")

    class Meta:
        model = Upload
        fields = [
            "id", "name", "kind", "size", "title", "url", "state", "error_code", "error", "detail", "document_id",
            "created_at", "finished_at",
        ]  # fmt: skip


class UploadFilterSerializer(serializers.Serializer):
    state = serializers.ChoiceField(State.choices, required=False)
