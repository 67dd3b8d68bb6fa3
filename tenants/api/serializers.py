"""The shapes of keys, end users and usage."""

from typing import Any

from rest_framework import serializers

from tenants.models import APIKey, EndUser, EndUserStatistics
from tenants.scopes import Scope


class APIKeySerializer(serializers.ModelSerializer):
    shown_as = serializers.SerializerMethodField(help_text="The public beginning of the key.")
    scopes = serializers.ListField(child=serializers.ChoiceField(Scope.choices))

    class Meta:
        model = APIKey
        fields = ["id", "name", "shown_as", "scopes", "created_at", "revoked_at"]

    def get_shown_as(self, key: APIKey) -> str:
        return f"{APIKey.PREFIX}{key.public_id}…"


class NewAPIKeySerializer(APIKeySerializer):
    key = serializers.CharField(
        allow_null=True, help_text="The whole key, shown this once; null where the answer is a replay."
    )

    class Meta(APIKeySerializer.Meta):
        fields = [*APIKeySerializer.Meta.fields, "key"]


class APIKeyInputSerializer(serializers.Serializer):
    name = serializers.CharField(max_length=100)
    scopes = serializers.ListField(
        child=serializers.ChoiceField(Scope.choices),
        allow_empty=False,
        required=False,
        help_text="At most those of the calling key, which is also what is given when nothing is said.",
    )


class StatisticsSerializer(serializers.ModelSerializer):
    class Meta:
        model = EndUserStatistics
        fields = [
            "questions", "answered", "not_found", "stopped", "failed", "active_days", "first_asked_at", "last_asked_at",
        ]  # fmt: skip


class AllowanceSerializer(serializers.Serializer):
    limit = serializers.IntegerField(allow_null=True, help_text="Null where nothing limits.")
    used = serializers.IntegerField()
    remaining = serializers.IntegerField(allow_null=True)
    resets_at = serializers.DateTimeField()


class EndUserSerializer(serializers.ModelSerializer):
    user_id = serializers.CharField(source="external_id", help_text="The person's id in your own system.")
    tier = serializers.CharField(source="tier.name", default=None, allow_null=True)
    statistics = StatisticsSerializer(allow_null=True, default=None, help_text="Null before the first question ended.")

    class Meta:
        model = EndUser
        fields = ["id", "user_id", "tier", "is_tier_fixed", "daily_limit", "created_at", "statistics"]


class EndUserTodaySerializer(EndUserSerializer):
    today = AllowanceSerializer()

    class Meta(EndUserSerializer.Meta):
        fields = [*EndUserSerializer.Meta.fields, "today"]


class EndUserFilterSerializer(serializers.Serializer):
    user_id = serializers.CharField(source="external_id", max_length=200, required=False)
    tier = serializers.CharField(source="tier__name", max_length=40, required=False)


class EndUserChangeSerializer(serializers.Serializer):
    tier = serializers.CharField(
        max_length=40,
        allow_null=True,
        required=False,
        help_text="Puts the end user there by hand, null into no tier; rules move it no more.",
    )
    is_tier_fixed = serializers.BooleanField(required=False, help_text="false lets the rules decide again.")
    daily_limit = serializers.IntegerField(
        min_value=0, max_value=2**31 - 1, allow_null=True, required=False, help_text="null: what the tier allows."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if "tier" in attrs and attrs.get("is_tier_fixed") is False:
            raise serializers.ValidationError({"is_tier_fixed": "A tier that is set by hand is fixed."})
        return attrs


class QueuedSerializer(serializers.Serializer):
    task_id = serializers.UUIDField()


class UsageQuerySerializer(serializers.Serializer):
    since = serializers.DateField(
        required=False, help_text="First day, by the tenant's calendar; default: 29 days ago."
    )
    until = serializers.DateField(required=False, help_text="Last day, itself included; default: today.")


class FiguresSerializer(serializers.Serializer):
    questions = serializers.IntegerField(help_text="Of end users, once they are over.")
    answered = serializers.IntegerField()
    not_found = serializers.IntegerField()
    stopped = serializers.IntegerField()
    failed = serializers.IntegerField()
    mean_answer_ms = serializers.IntegerField(allow_null=True, help_text="Of answered questions.")
    member_questions = serializers.IntegerField(help_text="Of your own people, on the chat page.")
    prompt_tokens = serializers.IntegerField(help_text="Of a language model, estimated.")
    answer_tokens = serializers.IntegerField()
    cost = serializers.FloatField(help_text="Of these tokens, in the currency of the prices that the server is set to.")


class UsageDaySerializer(FiguresSerializer):
    day = serializers.DateField()
    end_users = serializers.IntegerField(help_text="Different ones.")


class UsageSerializer(serializers.Serializer):
    since = serializers.DateField()
    until = serializers.DateField()
    time_zone = serializers.CharField()
    days = UsageDaySerializer(many=True)
    total = FiguresSerializer()
