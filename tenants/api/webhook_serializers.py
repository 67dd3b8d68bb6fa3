"""The shapes of webhooks: endpoints, deliveries, attempts."""

from typing import Any

from rest_framework import serializers

from core.outbound import OutboundError, parse_target
from core.states import State
from tenants.models import EventType, WebhookAttempt, WebhookDelivery, WebhookEndpoint


class EndpointSerializer(serializers.ModelSerializer):
    event_types = serializers.ListField(child=serializers.ChoiceField(EventType.choices), help_text="Empty: all.")

    class Meta:
        model = WebhookEndpoint
        fields = [
            "id", "url", "description", "event_types", "is_enabled", "disabled_reason", "disabled_at", "failing_since",
            "paused_until", "previous_valid_until", "created_at",
        ]  # fmt: skip
        extra_kwargs = {"previous_valid_until": {"help_text": "Until when the secret before the last rotation signs."}}


class NewEndpointSerializer(EndpointSerializer):
    secret = serializers.CharField(allow_null=True, help_text="Shown this once; null where the answer is a replay.")

    class Meta(EndpointSerializer.Meta):
        fields = [*EndpointSerializer.Meta.fields, "secret"]


class EndpointInputSerializer(serializers.Serializer):
    url = serializers.CharField(max_length=2000)
    description = serializers.CharField(max_length=200, allow_blank=True, required=False)
    event_types = serializers.ListField(
        child=serializers.ChoiceField(EventType.choices), required=False, help_text="Empty: all."
    )

    def validate_url(self, url: str) -> str:
        try:
            return parse_target(url).url
        except OutboundError as exc:
            raise serializers.ValidationError(str(exc), code=exc.code) from exc


class EndpointChangeSerializer(EndpointInputSerializer):
    url = serializers.CharField(max_length=2000, required=False)
    is_enabled = serializers.BooleanField(required=False)


class SecretSerializer(serializers.Serializer):
    secret = serializers.CharField(allow_null=True, help_text="Shown this once; null where the answer is a replay.")
    previous_valid_until = serializers.DateTimeField(help_text="Until then the secret before signs as well.")


class ReplayRangeSerializer(serializers.Serializer):
    since = serializers.DateTimeField()
    until = serializers.DateTimeField()
    again = serializers.BooleanField(default=False, help_text="Also what arrived already.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs["since"] >= attrs["until"]:
            raise serializers.ValidationError({"until": "until must be later than since."})
        return attrs


class ReplayedSerializer(serializers.Serializer):
    count = serializers.IntegerField(help_text="Events queued, at most 10,000 at once: repeat until it is 0.")


class DeliverySerializer(serializers.ModelSerializer):
    endpoint_id = serializers.UUIDField()
    event_id = serializers.UUIDField(help_text="The `webhook-id` of every attempt.")
    type = serializers.ChoiceField(source="event.type", choices=EventType.choices)

    class Meta:
        model = WebhookDelivery
        fields = [
            "id", "endpoint_id", "event_id", "type", "state", "attempts", "next_attempt_at", "last_status",
            "last_error", "created_at", "finished_at",
        ]  # fmt: skip


class AttemptSerializer(serializers.ModelSerializer):
    class Meta:
        model = WebhookAttempt
        fields = ["number", "status", "error", "response_excerpt", "duration_ms", "started_at"]


class DeliveryDetailSerializer(DeliverySerializer):
    payload = serializers.JSONField(source="event.payload")
    attempt_log = AttemptSerializer(many=True)

    class Meta(DeliverySerializer.Meta):
        fields = [*DeliverySerializer.Meta.fields, "payload", "attempt_log"]


class DeliveryFilterSerializer(serializers.Serializer):
    state = serializers.ChoiceField(State.choices, required=False)
    endpoint = serializers.UUIDField(required=False)
    event = serializers.UUIDField(required=False)
    type = serializers.ChoiceField(EventType.choices, source="event__type", required=False)
