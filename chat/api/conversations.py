"""Conversations over HTTP, to be read (docs/api-resources.md)."""

from typing import Any

from django.db.models import Count, IntegerField, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.utils import timezone
from drf_spectacular.utils import OpenApiResponse, extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.mixins import ListModelMixin
from rest_framework.request import Request
from rest_framework.response import Response

from chat.models import Conversation, Message
from chat.payload import message_body
from chat.serializers import MessageSerializer
from tenants.api.resources import ResourceViewSet
from tenants.scopes import Scope

SHOWN_MESSAGES = 100


class ConversationSerializer(serializers.ModelSerializer):
    user_id = serializers.CharField(
        source="end_user.external_id", default=None, allow_null=True, help_text="Null if one of your own people asked."
    )
    message_count = serializers.IntegerField()

    class Meta:
        model = Conversation
        fields = ["id", "user_id", "title", "created_at", "archived_at", "message_count"]


class ConversationDetailSerializer(ConversationSerializer):
    messages = MessageSerializer(many=True, help_text=f"The last {SHOWN_MESSAGES}, the oldest of them first.")

    class Meta(ConversationSerializer.Meta):
        fields = [*ConversationSerializer.Meta.fields, "messages"]


class ExportSerializer(ConversationDetailSerializer):
    exported_at = serializers.DateTimeField()
    messages = MessageSerializer(many=True, help_text="All, the oldest first.")

    class Meta(ConversationSerializer.Meta):
        fields = ["exported_at", *ConversationDetailSerializer.Meta.fields]


class ConversationFilterSerializer(serializers.Serializer):
    user_id = serializers.CharField(source="end_user__external_id", max_length=200, required=False)
    archived = serializers.BooleanField(
        default=False, help_text="true: those that were archived by the tenant's retention, instead of the others."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        return attrs | {"archived_at__isnull": not attrs.pop("archived")}


@extend_schema_view(
    list=extend_schema(
        operation_id="conversation_list",
        summary="List conversations",
        parameters=[ConversationFilterSerializer],
    ),
)
class ConversationViewSet(ListModelMixin, ResourceViewSet):
    required_scope = Scope.QUERY
    queryset = Conversation.objects.select_related("end_user")
    serializer_class = ConversationSerializer
    filters = ConversationFilterSerializer

    def get_queryset(self) -> Any:
        messages = Message.objects.filter(conversation=OuterRef("pk")).order_by().values("conversation")
        counted = messages.annotate(count=Count("pk")).values("count")
        count = Coalesce(Subquery(counted, output_field=IntegerField()), 0)  # of the shown page only, unlike a join
        return super().get_queryset().annotate(message_count=count)

    @extend_schema(
        operation_id="conversation",
        summary="Look a conversation up",
        description=f"With its last {SHOWN_MESSAGES} messages.",
        responses=ConversationDetailSerializer,
    )
    def retrieve(self, request: Request, pk: str) -> Response:
        conversation = self.get_object()
        newest = _messages(conversation).order_by("-created_at", "-pk")[:SHOWN_MESSAGES]
        return Response(_described(conversation, reversed(newest)))

    @extend_schema(
        operation_id="conversation_export",
        summary="Export a conversation",
        description="As a JSON file with every message.",
        responses={200: OpenApiResponse(ExportSerializer, "A file to be saved.")},
    )
    def export(self, request: Request, pk: str) -> Response:
        conversation = self.get_object()
        messages = _messages(conversation).order_by("created_at", "pk").iterator()
        body = {"exported_at": timezone.now().isoformat()} | _described(conversation, messages)
        name = f'attachment; filename="conversation-{conversation.pk}.json"'
        return Response(body, headers={"Content-Disposition": name})


def _messages(conversation: Conversation) -> QuerySet[Message]:
    return Message.objects.filter(conversation=conversation)


def _described(conversation: Conversation, messages: Any) -> dict[str, Any]:
    return ConversationSerializer(conversation).data | {"messages": [message_body(message) for message in messages]}
