"""The shapes of websites, crawls and pages."""

from typing import Any

from rest_framework import serializers

from core.states import State
from crawl.models import URL_MAX_CHARS, CrawlRun, Page, Website
from crawl.standing import Condition
from crawl.website_fields import (
    DEPTH_MAX,
    HOURS_MAX,
    PATTERN_MAX_CHARS,
    PATTERNS_MAX,
    SELECTOR_MAX_CHARS,
    SELECTORS_MAX,
)


class PatternsField(serializers.ListField):
    child = serializers.CharField(max_length=PATTERN_MAX_CHARS)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=PATTERNS_MAX, **kwargs)


class SelectorsField(serializers.ListField):
    child = serializers.CharField(max_length=SELECTOR_MAX_CHARS)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=SELECTORS_MAX, **kwargs)


class WebsiteSerializer(serializers.ModelSerializer):
    url = serializers.CharField(source="root_url", help_text="Where crawls begin, in its one form.")
    include = serializers.ListField(child=serializers.CharField(), source="include_patterns")
    exclude = serializers.ListField(child=serializers.CharField(), source="exclude_patterns")
    content = serializers.ListField(child=serializers.CharField(), source="content_selectors")
    leave_out = serializers.ListField(child=serializers.CharField(), source="exclude_selectors")

    class Meta:
        model = Website
        fields = [
            "id", "url", "name", "include", "exclude", "content", "leave_out", "renders_javascript", "max_pages",
            "max_depth", "crawl_every_hours", "next_crawl_at", "created_at",
        ]  # fmt: skip


class OutcomeSerializer(serializers.Serializer):
    state = serializers.CharField(help_text="As of a page.")
    reason = serializers.CharField(help_text="As of a page; empty if it was read.")
    text = serializers.CharField(help_text="The reason in words, in the language of `Accept-Language`.")
    count = serializers.IntegerField()


class WebsiteDetailSerializer(WebsiteSerializer):
    outcomes = OutcomeSerializer(many=True, help_text="What came of its pages, the most frequent first.")

    class Meta(WebsiteSerializer.Meta):
        fields = [*WebsiteSerializer.Meta.fields, "outcomes"]


class WebsiteChangeSerializer(serializers.Serializer):
    name = serializers.CharField(max_length=200, allow_blank=True, required=False)
    include = PatternsField(
        required=False, help_text="Path globs such as `/docs/*`; without any, all below the address's folder."
    )
    exclude = PatternsField(required=False, help_text="Path globs; they win over `include`.")
    content = SelectorsField(
        required=False, help_text="CSS selectors of what is the content, such as `article`; else it is found."
    )
    leave_out = SelectorsField(required=False, help_text="CSS selectors of what is never content, such as `.comments`.")
    renders_javascript = serializers.BooleanField(
        required=False,
        help_text="Render pages that show their text with JavaScript only; refused where the operator has it off.",
    )
    crawl_every_hours = serializers.IntegerField(
        min_value=1, max_value=HOURS_MAX, required=False, allow_null=True, help_text="Null: only when asked to."
    )
    max_pages = serializers.IntegerField(min_value=1, required=False)
    max_depth = serializers.IntegerField(min_value=1, max_value=DEPTH_MAX, required=False)


class WebsiteInputSerializer(WebsiteChangeSerializer):
    url = serializers.CharField(max_length=URL_MAX_CHARS, help_text="`https://` may be left out.")


class CrawlSerializer(serializers.ModelSerializer):
    website_id = serializers.UUIDField()

    class Meta:
        model = CrawlRun
        fields = ["id", "website_id", "state", "is_cancelled", "error", "created_at", "started_at", "finished_at"]


class ProgressSerializer(serializers.Serializer):
    stage = serializers.ChoiceField(CrawlRun.Stage.choices)
    condition = serializers.ChoiceField(
        Condition.choices, help_text="What it does now: a crawl that waits, a slow one and a stuck one differ here."
    )
    place = serializers.IntegerField(
        allow_null=True, help_text="In line, from 1: `in_line` among the tenant's crawls, `waiting` among all."
    )
    resumes_at = serializers.DateTimeField(allow_null=True, help_text="While `pausing` or `stuck`, the latest.")
    moved_at = serializers.DateTimeField(allow_null=True, help_text="When a page was last fetched or read.")
    is_finished = serializers.BooleanField()
    total = serializers.IntegerField(help_text="Pages known so far.")
    finished = serializers.IntegerField(help_text="Of them those that are over.")
    counts = serializers.DictField(child=serializers.IntegerField(), help_text="Pages by state.")
    reasons = serializers.DictField(child=serializers.IntegerField(), help_text="Skipped and failed pages by reason.")
    renderings = serializers.DictField(
        child=serializers.IntegerField(), help_text="Pages that need JavaScript, by what came of rendering them."
    )
    unchanged = serializers.IntegerField()
    dropped = serializers.IntegerField(help_text="Links left out at the page limit.")
    trapped = serializers.IntegerField(help_text="Links left out as endless variants of a page, such as calendars.")
    pages_per_second = serializers.FloatField()
    pages_per_minute = serializers.FloatField(help_text="Over the last minute; of all of it once it is over.")
    eta_seconds = serializers.FloatField(allow_null=True)


class CrawlProgressSerializer(CrawlSerializer):
    progress = ProgressSerializer()

    class Meta(CrawlSerializer.Meta):
        fields = [*CrawlSerializer.Meta.fields, "progress"]


class PageSerializer(serializers.ModelSerializer):
    document_id = serializers.UUIDField(allow_null=True)
    crawl_id = serializers.UUIDField(source="run_id", allow_null=True, help_text="The last crawl that saw it.")
    reason_text = serializers.CharField(
        source="get_reason_display", help_text="The reason in words, in the language of `Accept-Language`."
    )
    rendering_text = serializers.CharField(
        source="get_rendering_display", help_text="What came of rendering it in words, likewise; empty if not needed."
    )
    duplicate_of = serializers.CharField(source="duplicate_of.url", default=None, allow_null=True)

    class Meta:
        model = Page
        fields = [
            "id", "url", "state", "reason", "reason_text", "detail", "rendering", "rendering_text", "http_status",
            "depth", "document_id", "crawl_id", "duplicate_of", "fetched_at", "created_at",
        ]  # fmt: skip


class PageFilterSerializer(serializers.Serializer):
    state = serializers.ChoiceField(Page.State.choices, required=False)
    reason = serializers.ChoiceField(Page.Reason.choices, required=False)
    rendering = serializers.ChoiceField(Page.Rendering.choices, required=False)


class CrawlFilterSerializer(serializers.Serializer):
    state = serializers.ChoiceField(State.choices, required=False)
