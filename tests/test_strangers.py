"""Every address, tried by those who have no business there. A new address must be added to the table.

Strangers are: nobody; a tenant that does not own the row; a key without the scope; a tenant's key where the
platform's operator is meant, and the reverse; a user of no tenant, on the pages.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import URLPattern, get_resolver
from django.utils.timezone import now
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from chat.models import Conversation, Message
from chat.services import ask
from crawl.models import Website
from crawl.services import add_website, start_crawl, upload_document
from knowledge.services import store_page
from tasks_api.models import TaskRun
from tenants.models import Notification, NotificationReceipt, WebhookEndpoint
from tenants.scopes import Scope
from tenants.services import (
    add_member,
    create_api_key,
    create_endpoint,
    create_operator_key,
    create_tenant,
    get_end_user,
    send_test_event,
)

ZERO = "00000000-0000-0000-0000-000000000000"
MISSING = 999_999_999


@dataclass(frozen=True)
class Rule:
    """Who may call an address, by which methods; ``row`` makes one of a tenant's rows that the address names."""

    methods: tuple[str, ...]
    scope: Scope | None = None
    tenants: bool = True
    operators: bool = False
    row: Callable[[Any], Any] | None = None
    body: Callable[[Any], dict[str, Any]] | None = None  # a body that names a tenant's row


def task(tenant: Any) -> Any:
    return TaskRun.objects.create(name="x", queue="default", tenant=tenant, state="failed").pk


def message(tenant: Any) -> Any:
    return ask(tenant=tenant, question="What is it?", user_id="u1").pk


def conversation(tenant: Any) -> Any:
    return Message.objects.get(pk=message(tenant)).conversation_id


def member_conversation(tenant: Any) -> Any:
    member = User.objects.create_user("owner")
    add_member(tenant=tenant, user=member)
    return Conversation.objects.create(tenant=tenant, member=member).pk


def member_notice(tenant: Any) -> Any:
    member = User.objects.create_user("owner")
    add_member(tenant=tenant, user=member)
    notification = Notification.objects.create(tenant=tenant, subject="Maintenance", body="Tonight.")
    return NotificationReceipt.objects.create(tenant=tenant, notification=notification, user=member).pk


def member_message(tenant: Any) -> Any:
    conversation = Conversation.objects.get(pk=member_conversation(tenant))
    return Message.objects.create(tenant=tenant, conversation=conversation, question="What is it?").pk


def foreign_conversation(tenant: Any) -> dict[str, Any]:
    return {"question": "And then?", "user_id": "u1", "conversation_id": str(conversation(tenant))}


def website(tenant: Any) -> Any:
    return add_website(tenant=tenant, url="https://owner.example/").pk


def crawl(tenant: Any) -> Any:
    return start_crawl(website=Website.objects.get(pk=website(tenant))).pk


def document(tenant: Any) -> Any:
    return store_page(
        tenant=tenant, url="https://owner.example/a", title="A", language="en", content="Text.", fetched_at=now()
    ).pk


def upload(tenant: Any) -> Any:
    return upload_document(tenant=tenant, body=b"Text.", name="a.txt").pk


def end_user(tenant: Any) -> Any:
    return get_end_user(tenant=tenant, external_id="u1").pk


def endpoint(tenant: Any) -> Any:
    return create_endpoint(tenant=tenant, url="https://owner.example/hook")[0].pk


def delivery(tenant: Any) -> Any:
    return send_test_event(endpoint=WebhookEndpoint.objects.get(pk=endpoint(tenant))).pk


def api_key(tenant: Any) -> Any:
    return create_api_key(tenant=tenant, name="another")[0].pk


def sources_rule(*methods: str, row: Any = None) -> Rule:
    return Rule(methods, Scope.SOURCES, row=row)


def admin_rule(*methods: str, row: Any = None) -> Rule:
    return Rule(methods, Scope.ADMIN, row=row)


def tasks_rule(*methods: str, row: Any = None) -> Rule:
    return Rule(methods, Scope.TASKS, operators=True, row=row)


def operators_rule(*methods: str) -> Rule:
    return Rule(methods, tenants=False, operators=True)


# Addresses of the API, without the trailing slash: both forms must behave alike.
API = {
    "api/v1/query": Rule(("post",), Scope.QUERY, body=foreign_conversation),
    "api/v1/messages/<uuid:message_id>": Rule(("get",), Scope.QUERY, row=message),
    "api/v1/messages/<uuid:message_id>/stream": Rule(("get",), Scope.QUERY, row=message),
    "api/v1/messages/<uuid:message_id>/stop": Rule(("post",), Scope.QUERY, row=message),
    "api/v1/messages/<uuid:message_id>/feedback": Rule(("post", "delete"), Scope.QUERY, row=message),
    "api/v1/conversations": Rule(("get",), Scope.QUERY),
    "api/v1/conversations/<uuid:pk>": Rule(("get",), Scope.QUERY, row=conversation),
    "api/v1/conversations/<uuid:pk>/export": Rule(("get",), Scope.QUERY, row=conversation),
    "api/v1/websites": sources_rule("get", "post"),
    "api/v1/websites/<uuid:pk>": sources_rule("get", "patch", "delete", row=website),
    "api/v1/websites/<uuid:website_id>/crawls": sources_rule("get", "post", row=website),
    "api/v1/websites/<uuid:website_id>/pages": sources_rule("get", row=website),
    "api/v1/crawls/<uuid:pk>": sources_rule("get", row=crawl),
    "api/v1/crawls/<uuid:pk>/cancel": sources_rule("post", row=crawl),
    "api/v1/uploads": sources_rule("get", "post"),
    "api/v1/uploads/<uuid:pk>": sources_rule("get", row=upload),
    "api/v1/knowledge-versions": sources_rule("get", "post", "delete"),
    "api/v1/knowledge-versions/switch": sources_rule("post"),
    "api/v1/knowledge-versions/rollback": sources_rule("post"),
    "api/v1/documents": sources_rule("get"),
    "api/v1/documents/<uuid:pk>": sources_rule("get", "delete", row=document),
    "api/v1/sync/trigger-full-sync": Rule(("post",), Scope.SOURCES, operators=True),
    "api/v1/sync/document/<uuid:pk>": sources_rule("post", "delete", row=document),
    "api/v1/sync/status": sources_rule("get"),
    "api/v1/search": sources_rule("post"),
    "api/v1/api-keys": admin_rule("get", "post"),
    "api/v1/api-keys/<uuid:pk>": admin_rule("get", "delete", row=api_key),
    "api/v1/end-users": admin_rule("get"),
    "api/v1/end-users/<uuid:pk>": admin_rule("get", "patch", row=end_user),
    "api/v1/end-users/<uuid:pk>/reset-limit": admin_rule("post", row=end_user),
    "api/v1/usage": admin_rule("get"),
    "api/v1/webhooks/endpoints": admin_rule("get", "post"),
    "api/v1/webhooks/endpoints/<uuid:pk>": admin_rule("get", "patch", "delete", row=endpoint),
    "api/v1/webhooks/endpoints/<uuid:pk>/rotate-secret": admin_rule("post", row=endpoint),
    "api/v1/webhooks/endpoints/<uuid:pk>/test": admin_rule("post", row=endpoint),
    "api/v1/webhooks/endpoints/<uuid:pk>/replay": admin_rule("post", row=endpoint),
    "api/v1/webhooks/deliveries": admin_rule("get"),
    "api/v1/webhooks/deliveries/<uuid:pk>": admin_rule("get", row=delivery),
    "api/v1/webhooks/deliveries/<uuid:pk>/replay": admin_rule("post", row=delivery),
    "api/v1/tasks/status/<uuid:task_id>": tasks_rule("get", row=task),
    "api/v1/tasks/list": tasks_rule("get"),
    "api/v1/tasks/revoke/<uuid:task_id>": tasks_rule("post", row=task),
    "api/v1/tasks/retry/<uuid:task_id>": tasks_rule("post", row=task),
    "api/v1/tasks/workers": operators_rule("get"),
    "api/v1/tasks/queues": operators_rule("get"),
    "api/v1/tasks/schedules": operators_rule("get"),
    "api/v1/tasks/schedules/<int:schedule_id>": operators_rule("get", "patch"),
    "api/v1/tasks/schedules/<int:schedule_id>/run": operators_rule("post"),
    "api/v1/tasks/trigger/cleanup-cache": operators_rule("post"),
    "api/v1/tasks/trigger/reset-daily-limits": operators_rule("post"),
    "api/v1/tasks/trigger/send-statistics": operators_rule("post"),
}
# Pages for members of a tenant, behind the login; with the row of another tenant that a page names.
PAGES = {
    "": None,
    "chat/ask": None,
    "chat/<uuid:conversation_id>": member_conversation,
    "chat/messages/<uuid:message_id>/stream": member_message,
    "chat/messages/<uuid:message_id>/stop": member_message,
    "chat/messages/<uuid:message_id>/rate": member_message,
    "chat/notices/<int:receipt_id>/dismiss": member_notice,
}
# Open to everybody: nothing of a tenant is behind them.
PUBLIC = {
    "login", "logout", "i18n/setlang", "healthz", "readyz", "robots.txt", "sitemap.xml", "handbook",
    "handbook/(?P<language>en|fa)", "handbook/(?P<language>en|fa)/(?P<slug>[^/]+)", "api/schema", "api/docs",
}  # fmt: skip
STAFF_PREFIX = "admin/"


def routes(patterns: Any = None, prefix: str = "") -> Iterator[str]:
    for pattern in get_resolver().url_patterns if patterns is None else patterns:
        route = prefix + str(pattern.pattern).removeprefix("^")
        if isinstance(pattern, URLPattern):
            yield route.removesuffix("$")
        else:
            yield from routes(pattern.url_patterns, route)


ROUTES = sorted(set(routes()))
API_FORMS = [(route, method) for route in ROUTES if (rule := API.get(route.rstrip("/"))) for method in rule.methods]
PAGE_FORMS = [route for route in ROUTES if route.rstrip("/") in PAGES]
STAFF_FORMS = [
    route
    for route in ROUTES
    if route.startswith(STAFF_PREFIX) and route not in {"admin/login/", "admin/logout/", "admin/jsi18n/"}
]


def address(route: str, key: Any = None) -> str:
    path = re.sub(r"<uuid:\w+>", str(key or ZERO), route)
    path = re.sub(r"<int:\w+>|<\w+:\w+>|\(\?P<\w+>[^)]*\)|<\w+>", str(key or 1), path)
    return f"/{path}"


def call(client: Client, method: str, path: str, body: Any = None) -> Any:
    return (
        getattr(client, method)(path, data=json.dumps(body or {}), content_type="application/json")
        if (method != "get")
        else client.get(path)
    )


def key_client(text: str) -> Client:
    return Client(headers={"X-API-Key": text}, raise_request_exception=False)


@pytest.fixture
def owner(db):
    return create_tenant(slug="owner")


@pytest.fixture
def stranger(db):
    return key_client(create_api_key(tenant=create_tenant(slug="stranger"), name="server")[1])


@pytest.fixture(autouse=True)
def nothing_is_sent(monkeypatch):
    monkeypatch.setattr("celery.app.task.Task.apply_async", lambda *_args, **_options: None)


def test_the_table_names_every_address_and_no_other():
    named = {*API, *PAGES, *PUBLIC}
    there = {route.rstrip("/") for route in ROUTES if not route.startswith(STAFF_PREFIX)}

    assert there - named == set(), "new addresses: say in the table above who may call them"
    assert named - there == set(), "addresses that are gone"


@pytest.mark.django_db
@pytest.mark.parametrize(("route", "method"), API_FORMS)
def test_nobody_gets_401(route, method):
    response = call(Client(), method, address(route))

    assert (response.status_code, response.json()["code"]) == (401, "not_authenticated")
    assert response.headers["WWW-Authenticate"] == "X-API-Key"


@pytest.mark.parametrize(("route", "method"), API_FORMS)
def test_a_key_that_is_none_gets_401(route, method, db):
    for text in ("", " ", "pk_", "pk_0123456789abcdef." + "x" * 43, "سلام".encode().decode("latin-1"), "x" * 10_000):
        assert call(key_client(text), method, address(route)).status_code == 401


@pytest.mark.parametrize(("route", "method"), API_FORMS)
def test_a_revoked_key_gets_401(route, method, owner):
    key, text = create_api_key(tenant=owner, name="old")
    key.revoke()

    assert call(key_client(text), method, address(route)).status_code == 401


@pytest.mark.parametrize(("route", "method"), API_FORMS)
def test_a_key_without_the_scope_gets_403(route, method, owner):
    rule = API[route.rstrip("/")]
    others = [scope for scope in Scope.values if scope != rule.scope]
    client = key_client(create_api_key(tenant=owner, name="narrow", scopes=others)[1])

    response = call(client, method, address(route, rule.row and rule.row(owner)))

    assert response.status_code == 403
    assert response.json()["code"] == ("scope_missing" if rule.tenants else "operator_key_required")


@pytest.mark.parametrize(("route", "method"), API_FORMS)
def test_the_other_kind_of_key_gets_403(route, method, owner, stranger):
    rule = API[route.rstrip("/")]
    operator = key_client(create_operator_key(name="platform")[1])
    path = address(route, MISSING if "<int:" in route else rule.row and rule.row(owner))

    if not rule.tenants:
        assert call(stranger, method, path).json()["code"] == "operator_key_required"
    if not rule.operators:
        assert call(operator, method, path).json()["code"] == "tenant_key_required"
    assert rule.tenants or rule.operators


@pytest.mark.parametrize(("route", "method"), [form for form in API_FORMS if API[form[0].rstrip("/")].row])
def test_another_tenants_row_is_not_there(route, method, owner, stranger):
    key = API[route.rstrip("/")].row(owner)

    theirs = call(stranger, method, address(route, key))
    missing = call(stranger, method, address(route, ZERO))

    assert theirs.status_code == missing.status_code == 404
    assert without_id(theirs) == without_id(missing)  # no word tells that it exists


@pytest.mark.parametrize(("route", "method"), [form for form in API_FORMS if API[form[0].rstrip("/")].body])
def test_another_tenants_row_in_the_body_is_not_there(route, method, owner, stranger):
    before = Message.objects.count()
    body = API[route.rstrip("/")].body(owner)
    made = Message.objects.count() - before

    response = call(stranger, method, address(route), body)

    assert response.status_code == 404
    assert Message.objects.count() == before + made


def without_id(response: Any) -> dict[str, Any]:
    return {name: value for name, value in response.json().items() if name != "request_id"}


@pytest.mark.parametrize(("route", "method"), API_FORMS)
def test_who_may_is_let_in(route, method, owner):
    """The table would prove little if everybody were refused."""
    rule = API[route.rstrip("/")]
    scopes = [rule.scope] if rule.scope else None
    text = (
        create_api_key(tenant=owner, name="right", scopes=scopes)[1]
        if rule.tenants
        else create_operator_key(name="p")[1]
    )
    every = IntervalSchedule.objects.create(every=3600, period="seconds")
    schedule = PeriodicTask.objects.create(name="s", task="tasks_api.cleanup_old_cache", interval=every)
    key = schedule.pk if "<int:" in route else rule.row and rule.row(owner)

    response = call(key_client(text), method, address(route, key))

    assert response.status_code not in {401, 403, 404, 405}, response.content
    assert response.status_code < 500


@pytest.mark.parametrize("route", PAGE_FORMS)
def test_a_page_sends_nobody_to_the_login(route, db):
    for method in ("get", "post"):
        response = getattr(Client(), method)(address(route))
        assert response.status_code in {302, 401, 403, 404, 405}, response.content
        assert response.status_code != 302 or response.headers["Location"].startswith("/login/")


@pytest.mark.parametrize("route", [route for route in PAGE_FORMS if PAGES[route.rstrip("/")]])
@pytest.mark.parametrize("is_member", [True, False])
def test_a_page_hides_another_tenants_rows(route, is_member, owner):
    user = User.objects.create_user("stranger")
    if is_member:
        add_member(tenant=create_tenant(slug="stranger"), user=user)
    client = Client(raise_request_exception=False)
    client.force_login(user)
    path = address(route, PAGES[route.rstrip("/")](owner))

    for method in ("get", "post"):
        response = getattr(client, method)(path)
        assert response.status_code in {403, 404, 405}, response.status_code


@pytest.mark.parametrize("route", STAFF_FORMS)
def test_the_admin_is_for_staff(route, db):
    member = Client()
    member.force_login(User.objects.create_user("member"))

    for client in (Client(), member):
        response = client.get(address(route))
        assert response.status_code in {302, 403, 404}
        assert response.status_code != 302 or "/login/" in response.headers["Location"]
