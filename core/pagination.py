"""Cursor pagination: pages that neither skip nor repeat rows while rows come and go."""

import base64
import json
from datetime import UTC, datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import Model, Q
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param

from core.errors import PasokhError


class CursorInvalidError(PasokhError):
    code = "cursor_invalid"


class LimitInvalidError(PasokhError):
    code = "limit_invalid"


class NewestFirst(BasePagination):
    """Pages of ``limit`` rows by (``created_at``, id), newest first.

    The body is ``{data, has_more, next_cursor}``; ``starting_after=<next_cursor>`` asks for the following page, and
    a ``Link: <…>; rel="next"`` header holds its address. Views may order by another moment: ``ordering_field``.
    """

    default_limit = 50
    max_limit = 200
    ordering_field = "created_at"

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any]:
        """Return one page.

        Raises:
            LimitInvalidError: if ``limit`` is not 1 to `max_limit`.
            CursorInvalidError: if ``starting_after`` is not a cursor that an earlier page gave.
        """
        self.request = request
        self.field = getattr(view, "ordering_field", self.ordering_field)
        limit = self._limit(request.query_params.get("limit"))
        if cursor := request.query_params.get("starting_after"):
            queryset = queryset.filter(self._after(queryset.model, cursor))
        rows = list(queryset.order_by(f"-{self.field}", "-pk")[: limit + 1])
        self.has_more = len(rows) > limit
        page = rows[:limit]
        self.next_cursor = self._cursor(page[-1]) if self.has_more else None
        return page

    def get_paginated_response(self, data: Any) -> Response:
        response = Response({"data": data, "has_more": self.has_more, "next_cursor": self.next_cursor})
        if self.next_cursor:
            url = replace_query_param(self.request.build_absolute_uri(), "starting_after", self.next_cursor)
            response["Link"] = f'<{url}>; rel="next"'
        return response

    def _limit(self, given: str | None) -> int:
        if given is None:
            return self.default_limit
        if not (given.isascii() and given.isdigit() and 1 <= int(given[:9]) <= self.max_limit):
            raise LimitInvalidError(f"limit must be a number from 1 to {self.max_limit}.")
        return int(given)

    def _cursor(self, row: Model) -> str:
        text = json.dumps([getattr(row, self.field).isoformat(), str(row.pk)])
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")

    def _after(self, model: type[Model], cursor: str) -> Q:
        try:
            text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
            moment, key = json.loads(text)
            at, pk = datetime.fromisoformat(moment).astimezone(UTC), model._meta.pk.to_python(str(key))
        except (ValueError, TypeError, AttributeError, OverflowError, RecursionError, ValidationError) as exc:
            raise CursorInvalidError("starting_after is not a cursor of this list; start without it.") from exc
        # The first half lets the index find the place; Postgres does not use it for an OR alone.
        return Q(**{f"{self.field}__lte": at}) & (Q(**{f"{self.field}__lt": at}) | Q(pk__lt=pk))

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        return [
            {
                "name": "limit",
                "in": "query",
                "required": False,
                "description": "Rows on a page.",
                "schema": {"type": "integer", "minimum": 1, "maximum": self.max_limit, "default": self.default_limit},
            },
            {
                "name": "starting_after",
                "in": "query",
                "required": False,
                "description": "The `next_cursor` of the page before.",
                "schema": {"type": "string"},
            },
        ]

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        return {
            "type": "object",
            "required": ["data", "has_more", "next_cursor"],
            "properties": {
                "data": schema,
                "has_more": {"type": "boolean"},
                "next_cursor": {"type": "string", "nullable": True},
            },
        }
