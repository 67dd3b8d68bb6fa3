"""The shapes of the chat API: what may be sent, and what the schema says is returned."""

from typing import Any

from rest_framework import serializers

from chat.models import Message
from core.states import State


class TextField(serializers.CharField):
    """Text and only text: a number or a boolean is refused, not turned into one."""

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return str(super().to_internal_value(data))


class UserIdField(serializers.CharField):
    """The id of a person in the tenant's own system: text or a whole number."""

    def to_internal_value(self, data: Any) -> str:
        if isinstance(data, bool) or not isinstance(data, str | int):
            self.fail("invalid")
        return str(super().to_internal_value(str(data)))


class QuestionSerializer(serializers.Serializer):
    # Emptiness and length are rules of the product: chat.services names those errors.
    question = TextField(allow_blank=True, trim_whitespace=False)
    user_id = UserIdField(max_length=200)
    conversation_id = TextField(required=False, allow_null=True, max_length=64)


class FeedbackSerializer(serializers.Serializer):
    rating = serializers.ChoiceField(Message.Rating.choices)


class CitationSerializer(serializers.Serializer):
    n = serializers.IntegerField()
    url = serializers.CharField()
    title = serializers.CharField()
    quote = serializers.CharField(help_text="A true part of the page.")
    fetched_at = serializers.DateTimeField(
        required=False, help_text="When the page was last read; missing in answers of the first versions."
    )
    nearest = serializers.BooleanField(required=False, help_text="The page is only near; it does not hold the answer.")


class TimingsSerializer(serializers.Serializer):
    """Milliseconds since the question was accepted; null until it happened."""

    queue_wait_ms = serializers.IntegerField(allow_null=True)
    first_token_ms = serializers.IntegerField(allow_null=True)
    total_ms = serializers.IntegerField(allow_null=True)


class ProblemSerializer(serializers.Serializer):
    type = serializers.CharField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    code = serializers.CharField()
    detail = serializers.CharField()


class TokensSerializer(serializers.Serializer):
    """Of a language model; estimated, and zero where none wrote."""

    prompt = serializers.IntegerField()
    answer = serializers.IntegerField()
    cost = serializers.FloatField(help_text="In the currency of the prices that the server is set to.")


class MessageSerializer(serializers.Serializer):
    message_id = serializers.UUIDField()
    conversation_id = serializers.UUIDField()
    task_id = serializers.UUIDField()
    state = serializers.ChoiceField(choices=State.choices)
    question = serializers.CharField()
    answer = serializers.CharField(help_text="Markdown with [n] citations; the text so far if it was stopped.")
    citations = CitationSerializer(many=True)
    finish_reason = serializers.ChoiceField(choices=[*Message.FinishReason.choices, ("", "not over")])
    model = serializers.CharField(help_text='"extractive": quoted from the site; "greeting"; else the model\'s name.')
    is_cached = serializers.BooleanField(help_text="The answer was written for the same question earlier.")
    note = serializers.ChoiceField(
        Message.Note.choices, allow_null=True, help_text="What the day's budget of tokens made of the answer."
    )
    tokens = TokensSerializer()
    error = ProblemSerializer(allow_null=True)
    rating = serializers.ChoiceField(Message.Rating.choices, allow_null=True, help_text="What the person thinks of it.")
    created_at = serializers.DateTimeField()
    timings = TimingsSerializer()


class AcceptedSerializer(serializers.Serializer):
    """The question is stored and will be answered; follow it at these addresses."""

    task_id = serializers.UUIDField()
    message_id = serializers.UUIDField()
    conversation_id = serializers.UUIDField()
    state = serializers.ChoiceField(choices=State.choices)
    status_url = serializers.URLField()
    stream_url = serializers.URLField()
    stop_url = serializers.URLField()
