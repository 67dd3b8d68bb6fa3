"""The shapes of documents and of a search."""

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from knowledge import vector_state as vectors
from knowledge.models import Document


class DocumentSerializer(serializers.ModelSerializer):
    chunk_count = serializers.IntegerField()
    embedded_count = serializers.IntegerField(help_text="Chunks with a vector of the model in use.")
    vector_state = serializers.SerializerMethodField()

    class Meta:
        model = Document
        fields = [
            "id", "url", "title", "language", "fetched_at", "created_at", "updated_at", "chunk_count", "embedded_count",
            "vector_state",
        ]  # fmt: skip

    @extend_schema_field(serializers.ChoiceField(vectors.CHOICES))
    def get_vector_state(self, document: Document) -> str:
        return vectors.state_of(document)


class DocumentDetailSerializer(DocumentSerializer):
    content = serializers.CharField(help_text="The page's text as Markdown.")
    sync_error = serializers.CharField(source="sync_item.error", default="", help_text="Why vectors could not be made.")

    class Meta(DocumentSerializer.Meta):
        fields = [*DocumentSerializer.Meta.fields, "content", "sync_error"]


class DocumentFilterSerializer(serializers.Serializer):
    website = serializers.UUIDField(required=False)
    url = serializers.CharField(max_length=2000, required=False, help_text="The whole URL.")
    q = serializers.CharField(max_length=500, required=False, help_text="How the title or the URL begins.")


class SearchInputSerializer(serializers.Serializer):
    query = serializers.CharField(max_length=2000)
    limit = serializers.IntegerField(min_value=1, max_value=50, default=8)


class PassageSerializer(serializers.Serializer):
    chunk_id = serializers.IntegerField()
    document_id = serializers.UUIDField()
    url = serializers.CharField()
    title = serializers.CharField()
    heading_path = serializers.CharField()
    content = serializers.CharField()
    fetched_at = serializers.DateTimeField()
    score = serializers.FloatField(help_text="Orders this search's passages; compares with nothing else.")
    cosine = serializers.FloatField(allow_null=True, help_text="Nearness in meaning; null without a vector.")
    coverage = serializers.FloatField(help_text="Share (0 to 1) of the query's words in the passage, rare ones more.")


class FoundSerializer(serializers.Serializer):
    passages = PassageSerializer(many=True)
