"""The request id, from the header to the task's message."""

import re

import pytest
from django.test import AsyncClient, Client
from structlog.contextvars import bound_contextvars, get_contextvars

from core.requests import add_to_message

NOT_FOUND = "/api/v1/nothing-here"
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def test_an_answer_without_a_given_id_has_a_new_one():
    first, second = (Client().get(NOT_FOUND).headers["X-Request-Id"] for _ in range(2))

    assert UUID.fullmatch(first)
    assert first != second


def test_a_sane_given_id_is_kept_and_shown_in_the_problem():
    response = Client().get(NOT_FOUND, headers={"X-Request-Id": "shop-2026.11:42"})

    assert response.headers["X-Request-Id"] == "shop-2026.11:42"
    assert response.json()["request_id"] == "shop-2026.11:42"


@pytest.mark.parametrize("given", ["", "short", "x" * 65, "with space here", "line\\nbreak-123", "سلام-سلام-سلام"])
def test_an_id_that_could_forge_a_log_line_is_replaced(given):
    assert UUID.fullmatch(Client().get(NOT_FOUND, headers={"X-Request-Id": given}).headers["X-Request-Id"])


async def test_the_asynchronous_stack_carries_the_id_as_well():
    response = await AsyncClient().get(NOT_FOUND, headers={"X-Request-Id": "request-12345"})

    assert response.headers["X-Request-Id"] == "request-12345"
    assert response.json()["request_id"] == "request-12345"


def test_nothing_of_a_request_stays_behind_in_the_thread():
    Client().get(NOT_FOUND, headers={"X-Request-Id": "request-12345"})

    assert "request_id" not in get_contextvars()


def test_a_message_carries_the_context_but_never_overrides_its_sender():
    headers = {"tenant_id": "named-by-the-sender"}

    with bound_contextvars(request_id="request-12345", tenant_id="of-the-context"):
        add_to_message(headers=headers)

    assert headers == {"tenant_id": "named-by-the-sender", "request_id": "request-12345"}
