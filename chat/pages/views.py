"""The chat page: a member asks, and reads the answers of their own conversations; all else is 404."""

import json
import uuid
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import AnonymousUser, User
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, render
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.translation import get_language, gettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from chat import services
from chat.following import position
from chat.models import Conversation, Message
from chat.pages.noticing import notices_of
from chat.pages.presenting import FAILURE, FAILURES, exchange_of
from chat.pages.streaming import lines
from chat.pages.suggesting import suggestions
from core.errors import PasokhError
from tenants.errors import TenantNotFoundError
from tenants.models import Membership, NotificationReceipt, Tenant, TenantOwnedQuerySet
from tenants.services import mark_read

CONVERSATIONS_SHOWN = 100
EXCHANGES_SHOWN = 100
BODY_MAX_BYTES = 64 * 1024


@require_safe
@never_cache
@login_required
def home(request: HttpRequest) -> HttpResponse:
    """Show an empty conversation in the tenant that ``?tenant=`` names, or the member's first."""
    tenants = _tenants_of(request.user)
    slug = request.GET.get("tenant")
    if slug:
        tenant = get_object_or_404(tenants, slug=slug)
    elif (first := tenants.first()) is not None:
        tenant = first
    else:
        return render(request, "chat/no_tenant.html", status=403)
    return _page(request, tenant, None)


@require_safe
@never_cache
@login_required
def conversation(request: HttpRequest, conversation_id: uuid.UUID) -> HttpResponse:
    found = get_object_or_404(_conversations_of(request.user).select_related("tenant"), pk=conversation_id)
    return _page(request, found.tenant, found)


@require_POST
@never_cache
def ask(request: HttpRequest) -> JsonResponse:
    """Take ``{tenant, question, conversation_id?}``; return where to follow the answer, and the exchange as HTML."""
    if not request.user.is_authenticated:
        return _failed(401, "logged_out", gettext("You have been logged out."))
    try:
        asked = _asked(request)
        tenant = _tenants_of(request.user).filter(slug=asked["tenant"]).first()
        if tenant is None:
            raise TenantNotFoundError("There is no such tenant.")
        message = services.ask(
            tenant=tenant,
            question=asked["question"],
            member=request.user,
            conversation_id=asked.get("conversation_id") or None,
        )
    except PasokhError as exc:
        return _failed(exc.status, exc.code, str(FAILURES.get(exc.code, FAILURE)))
    except (ValueError, KeyError, RecursionError):
        return _failed(400, "invalid", str(FAILURE))
    return JsonResponse(
        {
            "conversation_id": str(message.conversation_id),
            "conversation_url": reverse("chat-conversation", args=[message.conversation_id]),
            "title": message.conversation.title,
            "html": render_to_string("chat/exchange.html", {"exchange": exchange_of(message)}),
        },
        status=202,
    )


@require_safe
async def stream(request: HttpRequest, message_id: uuid.UUID) -> HttpResponseBase:
    """Send the answer as it grows, from the beginning or from where the browser's connection broke."""
    message = await sync_to_async(_own_message)(await request.auser(), message_id)
    language = get_language() or "en"
    body = lines(message, language=language, after=position(request.headers.get("Last-Event-ID")))
    response = StreamingHttpResponse(body, content_type="text/event-stream; charset=utf-8")
    response["Cache-Control"] = "no-store"
    response["X-Accel-Buffering"] = "no"
    return response


@require_POST
def stop(request: HttpRequest, message_id: uuid.UUID) -> HttpResponse:
    services.request_stop(message=_own_message(request.user, message_id))
    return HttpResponse(status=204)


@require_POST
def rate(request: HttpRequest, message_id: uuid.UUID) -> HttpResponse:
    """Take ``rating``: up, down, or empty to take it back."""
    message = _own_message(request.user, message_id)
    rating = request.POST.get("rating", "")
    if rating not in {"", *Message.Rating.values}:
        return HttpResponse(status=400)
    try:
        services.rate(message=message, rating=rating)
    except PasokhError as exc:
        return HttpResponse(status=exc.status)
    return HttpResponse(status=204)


@require_POST
@never_cache
def dismiss(request: HttpRequest, receipt_id: int) -> HttpResponse:
    """Mark the member's own copy as read; return the notices of its tenant that are left, as HTML."""
    if not request.user.is_authenticated:
        raise Http404
    own = NotificationReceipt.objects.filter(user=request.user, tenant__in=_tenants_of(request.user))
    receipt = get_object_or_404(own.select_related("tenant"), pk=receipt_id)
    mark_read(user=request.user, receipt_ids=[receipt.pk])
    return HttpResponse(notices_of(request.user, receipt.tenant).as_html())


def _page(request: HttpRequest, tenant: Tenant, current: Conversation | None) -> HttpResponse:
    messages = Message.objects.for_tenant(tenant).filter(conversation=current).order_by("-created_at")
    shown = list(messages[:EXCHANGES_SHOWN])[::-1] if current else []
    conversations = _conversations_of(request.user).for_tenant(tenant).filter(archived_at=None).order_by("-created_at")
    context: dict[str, Any] = {
        "tenant": tenant,
        "tenants": _tenants_of(request.user),
        "conversation": current,
        "conversations": conversations[:CONVERSATIONS_SHOWN],
        "exchanges": [exchange_of(message) for message in shown],
        "suggestions": [] if shown else suggestions(tenant, get_language() or "en"),
        "notices": notices_of(request.user, tenant),
        "question_max_chars": settings.CHAT_QUESTION_MAX_CHARS,
    }
    return render(request, "chat/page.html", context)


def _tenants_of(user: User | AnonymousUser) -> QuerySet[Tenant]:
    own = Membership.objects.filter(user__pk=user.pk or 0).values("tenant_id")
    return Tenant.objects.filter(is_active=True, pk__in=own).order_by("name")


def _conversations_of(user: User | AnonymousUser) -> TenantOwnedQuerySet[Conversation]:
    """Return the member's own conversations in tenants they still belong to."""
    return Conversation.objects.filter(member_id=user.pk, tenant__in=_tenants_of(user))


def _own_message(user: User | AnonymousUser, message_id: uuid.UUID) -> Message:
    if not user.is_authenticated:
        raise Http404
    return get_object_or_404(Message, pk=message_id, conversation__in=_conversations_of(user))


def _asked(request: HttpRequest) -> dict[str, str]:
    """Return the posted fields.

    Raises:
        ValueError: if the body is not an object of texts.
    """
    if len(request.body) > BODY_MAX_BYTES:
        raise ValueError("too large")
    asked = json.loads(request.body)
    if not isinstance(asked, dict) or not all(isinstance(value, str) for value in asked.values()):
        raise ValueError("not an object of texts")
    return asked


def _failed(status: int, code: str, detail: str) -> JsonResponse:
    return JsonResponse({"code": code, "detail": detail}, status=status)
