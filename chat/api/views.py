"""The chat over HTTP. A request that waits holds no thread and no database session (docs/chat.md)."""

import asyncio
import uuid
from typing import Any

from adrf.views import APIView
from asgiref.sync import sync_to_async
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import reverse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import views
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from chat import admission, services
from chat.api.event_stream import event_stream
from chat.api.preferences import EventStreamRenderer, preferences, wait_seconds, wants_stream
from chat.errors import TooBusyError
from chat.following import wait_for_end
from chat.models import Message
from chat.payload import message_body
from chat.serializers import (
    AcceptedSerializer,
    FeedbackSerializer,
    MessageSerializer,
    ProblemSerializer,
    QuestionSerializer,
)
from core.errors import PROBLEM_TYPE, problem_json
from core.parsing import BoundedJSONParser
from core.states import State
from tenants.authentication import HEADER as KEY_HEADER
from tenants.models import Tenant

_PROBLEMS = dict.fromkeys((400, 401, 404), OpenApiResponse(ProblemSerializer, "A problem (RFC 9457)."))


class ChatView(APIView):
    required_scope = "query"
    renderer_classes = [JSONRenderer, EventStreamRenderer]
    parser_classes = [BoundedJSONParser]
    check_throttles = views.APIView.check_throttles  # adrf's goes to the event loop and back for async throttles: none

    def finalize_response(
        self, request: Request, response: HttpResponseBase, *args: Any, **kwargs: Any
    ) -> HttpResponseBase:
        final: HttpResponseBase = super().finalize_response(request, response, *args, **kwargs)
        final["Cache-Control"] = "no-store"
        return final

    async def get_message(self, request: Request, message_id: uuid.UUID) -> Message:
        return await sync_to_async(services.get_message)(tenant=_tenant_of(request), message_id=message_id)


class QueryView(ChatView):
    refusals = admission.Refusals()

    async def async_dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Serve the request; refuse at once whose key was valid, and refused for the rush, a moment ago."""
        try:
            self.refusals.check(request.headers.get(KEY_HEADER, ""))
        except TooBusyError as exc:
            refusal = problem_json(exc.status, exc.code, str(exc))
            for name, value in {**exc.headers, "Cache-Control": "no-store"}.items():
                refusal[name] = value
            return refusal
        response: HttpResponseBase = await super().async_dispatch(request, *args, **kwargs)
        return response

    @extend_schema(
        operation_id="query",
        summary="Ask a question",
        description="Waits for the answer by default. `Prefer: respond-async` returns 202 at once, "
        "`Accept: text/event-stream` streams. A wait that grows too long (`Prefer: wait=N`, at most 55 s) also "
        "returns 202: the answer is still being written, follow it at the addresses given.",
        parameters=[OpenApiParameter("Prefer", str, OpenApiParameter.HEADER, description="respond-async, wait=N")],
        request=QuestionSerializer,
        responses={
            200: MessageSerializer,
            202: AcceptedSerializer,
            **_PROBLEMS,
            **dict.fromkeys((413, 422, 429, 502), OpenApiResponse(ProblemSerializer, "A problem (RFC 9457).")),
        },
    )
    async def post(self, request: Request) -> HttpResponseBase:
        asked = QuestionSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        try:
            message = await sync_to_async(services.ask)(tenant=_tenant_of(request), **asked.validated_data)
        except TooBusyError as exc:
            self.refusals.note(request.headers[KEY_HEADER], exc.room_in_seconds)
            raise
        self.refusals.forget(request.headers[KEY_HEADER])
        preferred = preferences(request)
        if wants_stream(request):
            return event_stream(message, request)
        if "respond-async" in preferred:
            return _accepted(request, message, applied="respond-async")
        try:
            async with asyncio.timeout(wait_seconds(preferred)):
                body = await wait_for_end(message)
        except TimeoutError:
            return _accepted(request, await self.get_message(request, message.pk))
        return _answered(body)


class MessageView(ChatView):
    @extend_schema(operation_id="message", summary="Look a message up", responses={200: MessageSerializer, **_PROBLEMS})
    async def get(self, request: Request, message_id: uuid.UUID) -> HttpResponseBase:
        return Response(message_body(await self.get_message(request, message_id)))


class StreamView(ChatView):
    @extend_schema(
        operation_id="message_stream",
        summary="Follow a message",
        description="Server-Sent Events `status`, `sources`, `delta`, `reset`, then `done` or `error`. "
        "Goes on after `Last-Event-ID`; replays everything otherwise.",
        parameters=[
            OpenApiParameter("last_event_id", str, description="For clients that cannot set Last-Event-ID."),
            OpenApiParameter("Last-Event-ID", str, OpenApiParameter.HEADER),
        ],
        responses={(200, "text/event-stream"): OpenApiTypes.STR, **_PROBLEMS},
    )
    async def get(self, request: Request, message_id: uuid.UUID) -> HttpResponseBase:
        return event_stream(await self.get_message(request, message_id), request)


class StopView(ChatView):
    @extend_schema(
        operation_id="message_stop",
        summary="Stop an answer",
        description="Keeps the text so far. Safe to repeat; an answer that is over stays as it is.",
        request=None,
        responses={200: MessageSerializer, **_PROBLEMS},
    )
    async def post(self, request: Request, message_id: uuid.UUID) -> HttpResponseBase:
        message = await self.get_message(request, message_id)
        return Response(message_body(await sync_to_async(services.request_stop)(message=message)))


class FeedbackView(ChatView):
    @extend_schema(
        operation_id="message_feedback",
        summary="Rate an answer",
        description="The last rating counts. The pages that a disliked answer cites are read again soon, each at most "
        "once in some hours. 409 while there is no complete answer.",
        request=FeedbackSerializer,
        responses={200: MessageSerializer, **_PROBLEMS, 409: OpenApiResponse(ProblemSerializer, "A problem.")},
    )
    async def post(self, request: Request, message_id: uuid.UUID) -> HttpResponseBase:
        message = await self.get_message(request, message_id)
        given = FeedbackSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        return Response(message_body(await sync_to_async(services.rate)(message=message, **given.validated_data)))

    @extend_schema(
        operation_id="message_feedback_delete",
        summary="Take a rating back",
        responses={200: MessageSerializer, **_PROBLEMS, 409: OpenApiResponse(ProblemSerializer, "A problem.")},
    )
    async def delete(self, request: Request, message_id: uuid.UUID) -> HttpResponseBase:
        message = await self.get_message(request, message_id)
        return Response(message_body(await sync_to_async(services.rate)(message=message, rating="")))


def _tenant_of(request: Request) -> Tenant:
    caller: Any = request.user  # a Caller: anything else was refused before
    tenant: Tenant = caller.tenant
    return tenant


def _answered(body: dict[str, Any]) -> Response:
    if body["state"] == State.FAILED:
        problem = body["error"]
        return Response(problem, status=problem["status"], content_type=PROBLEM_TYPE)
    return Response(body)


def _accepted(request: Request, message: Message, *, applied: str = "") -> Response:
    """Return 202 and where to follow the message; also what a wait turns into when it grows too long."""
    links = {
        name: request.build_absolute_uri(reverse(view, args=[message.pk]))
        for name, view in (("status_url", "message"), ("stream_url", "message-stream"), ("stop_url", "message-stop"))
    }
    body = {
        "task_id": str(message.task_id),
        "message_id": str(message.pk),
        "conversation_id": str(message.conversation_id),
        "state": str(message.state),
    }
    headers = {"Location": links["status_url"]} | ({"Preference-Applied": applied} if applied else {})
    return Response(body | links, status=202, headers=headers)
